"""Rows made ready for writing: a decoding thread fills batches of neighbouring rows while the last ones are written."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.extract.prefetch import Prefetcher
from etl.schema import REJECTED, UNWRITTEN, WRITTEN, Schema
from etl.source.patch import Patch, PatchError, cloud_snow_fraction
from etl.source.tiles import Timer
from etl.store.checksum import checksum
from etl.store.statistics import Sums, plane_sums
from etl.upsample.method import Upsampler

__all__ = ["Batch", "Limits", "Producer", "Source"]

_LONGEST_PATCH_S = 30.0

_PREFETCH_DEPTH = 4
"""Patches that are decoded while networks run on others."""


class Source(Protocol):
    """Where one rank's patches come from."""

    timer: Timer

    def outgoing(self) -> Iterator[tuple[Any, tuple[int, ...]]]:
        """What other ranks wait for, each with those ranks; comes first."""

    def patches(self) -> Iterator[tuple[int, Patch | PatchError]]:
        """(store row, patch or why there is none), in store order."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest shares that a kept patch may have, by its scene classification."""

    cloud: float
    """Cloud and cloud shadow, 0 to 1."""

    snow: float
    """Snow, 0 to 1."""


class Batch:
    """Neighbouring rows of every data set that extraction fills."""

    def __init__(self, schema: Schema, capacity: int) -> None:
        self.pixels = {d.name: np.empty((capacity, *d.row_shape), np.uint16) for d in schema.pixels}
        self.results = {d.name: np.empty(capacity, d.dtype) for d in schema.results}
        self.first = 0
        """Store row of the first one."""
        self.rows = 0
        """Number of rows filled."""
        self.rejected: dict[int, str] = {}
        """Reason by store row."""

    def begin(self, first: int, stop: int, wanted: npt.NDArray[np.intp]) -> None:
        """Take rows [first, stop) on; all but `wanted` get pixels 0 and state 0: they are settled already."""
        self.first, self.rows, self.rejected = first, stop - first, {}
        others = np.ones(self.rows, bool)
        others[wanted - first] = False
        if others.any():
            for array in (*self.pixels.values(), *self.results.values()):
                array[: self.rows][others] = 0

    @property
    def made(self) -> npt.NDArray[np.intp]:
        """Store rows that were made, ascending."""
        return self.first + np.flatnonzero(self.results["state"][: self.rows] != UNWRITTEN)

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """(data set, its filled rows); `state` comes last."""
        for name, array in (*self.pixels.items(), *self.results.items()):
            yield name, array[: self.rows]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """One patch judged and upsampled, before it is placed in a batch."""

    cloud_share: float
    """0 to 1; NaN without a scene classification."""
    snow_share: float
    """0 to 1; NaN without a scene classification."""
    problem: str
    """Why the patch is rejected; empty where it is kept."""
    native: tuple[npt.NDArray[np.uint16], ...] = ()
    """The three groups with context, shape (band, row, col); empty for a rejected patch."""
    fine: npt.NDArray[np.uint16] | None = None
    """`data_super`, shape (band, row, col); None where nothing is upsampled."""
    upsample_s: float = 0.0
    """Seconds that upsampling took."""


@dataclass(slots=True)
class Stages:
    """Seconds of one rank's thread, by what it did."""

    upsample_s: float = 0.0
    """Summed over the windows that networks run on at once: may exceed the time that passed."""
    sum_s: float = 0.0
    interleave_s: float = 0.0
    """Bands brought side by side, as the store has them."""
    hash_s: float = 0.0
    blocked_s: float = 0.0
    """Waiting for the writer to give a batch back."""


@dataclass(slots=True, eq=False)
class Producer:
    """Fills batches in a thread of its own; the main thread writes them and gives them back."""

    source: Source
    schema: Schema
    upsampler: Upsampler | None
    limits: Limits
    ranges: Sequence[tuple[int, int]]
    """Rows of each batch, in order."""
    rows: npt.NDArray[np.intp]
    """Rows that are to be made, ascending, all in one of the batches."""
    splits: npt.NDArray[np.uint8]
    """Split of each of `rows`."""
    exchange: Any
    depth: int = 2
    """Batches in flight: one filled while one is written."""
    windows: int = 0
    """Patches upsampled at once, each by a thread of its own, while others are decoded; 0: one after the other."""
    sums: Sums = field(init=False)
    stages: Stages = field(default_factory=Stages)
    full: "queue.SimpleQueue[Batch]" = field(default_factory=queue.SimpleQueue)
    error: BaseException | None = None
    """What ended the thread before its time."""
    empty: Batch = field(init=False)
    """What a rank that has no batch left takes part with."""
    free: "queue.SimpleQueue[Batch | None]" = field(default_factory=queue.SimpleQueue)
    _stopped: bool = False
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.sums = Sums(self.schema.pixels)
        self.empty = Batch(self.schema, 0)
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        capacity = max((stop - first for first, stop in self.ranges), default=0)
        for _ in range(min(self.depth, len(self.ranges))):
            self.free.put(Batch(self.schema, capacity))

    def start(self) -> None:
        """Begin filling."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the patch or block that it is at; decoding must not go on while the process ends."""
        self._stopped = True
        self.free.put(None)
        self._thread.join(_LONGEST_PATCH_S)

    def _run(self) -> None:
        try:
            for data, ranks in self.source.outgoing():
                self.exchange.post(data, ranks)
                if self._stopped:
                    return
            if self.windows:
                prefetched = Prefetcher(self.source.patches(), self._prepare, self.windows, _PREFETCH_DEPTH)
                with contextlib.closing(prefetched) as prepared:
                    self._fill_all(prepared)
            else:
                buffer = self._new_fine() if self.upsampler else None
                self._fill_all((row, self._prepare(patch, buffer)) for row, patch in self.source.patches())
        except BaseException as error:
            self.error = error

    def _fill_all(self, prepared: Iterator[tuple[int, Prepared]]) -> None:
        patches = zip(prepared, self.splits.tolist(), strict=True)
        for first, stop in self.ranges:
            start = time.perf_counter()
            batch = self.free.get()
            self.stages.blocked_s += time.perf_counter() - start
            if batch is None:
                return
            self._fill(batch, first, stop, patches)
            if self._stopped:
                return
            self.full.put(batch)

    def _fill(self, batch: Batch, first: int, stop: int, patches: Iterator[tuple[tuple[int, Prepared], int]]) -> None:
        wanted = self.rows[slice(*np.searchsorted(self.rows, (first, stop)))]
        batch.begin(first, stop, wanted)
        for row in wanted.tolist():
            if self._stopped:
                return
            (got_row, patch), split = next(patches)
            if got_row != row:
                raise RuntimeError(f"the source must give row {row} next, got {got_row}")
            self._place(batch, row - first, patch, split)
        self.sums.fold()

    def _new_fine(self) -> npt.NDArray[np.uint16]:
        """Room for one patch's `data_super`, shape (band, row, col)."""
        rows, columns, bands = self.schema.pixels[3].row_shape
        return np.empty((bands, rows, columns), np.uint16)

    def _prepare(self, patch: Patch | PatchError, fine: npt.NDArray[np.uint16] | None = None) -> Prepared:
        """The patch judged and upsampled, into `fine` or a buffer of its own; any thread."""
        if isinstance(patch, PatchError):
            return Prepared(*cloud_snow_fraction(None), str(patch))
        cloud, snow = cloud_snow_fraction(patch.scl)
        problem = self._over_limit(cloud, snow)
        if problem:
            return Prepared(cloud, snow, problem)
        if self.upsampler is None:
            return Prepared(cloud, snow, "", patch.native)
        start = time.perf_counter()
        fine = self._new_fine() if fine is None else fine
        self.upsampler(patch.native, fine)
        return Prepared(cloud, snow, "", patch.native, fine, time.perf_counter() - start)

    def _place(self, batch: Batch, place: int, patch: Prepared, split: int) -> None:
        results = batch.results
        results["cloud_share"][place], results["snow_share"][place] = patch.cloud_share, patch.snow_share
        pixels = [array[place] for array in batch.pixels.values()]
        if patch.problem:
            batch.rejected[batch.first + place] = patch.problem
            for target in pixels:
                target[...] = 0
        else:
            self._pixels(pixels, patch, split)
        start = time.perf_counter()
        results["checksum"][place] = checksum(pixels)
        results["state"][place] = REJECTED if patch.problem else WRITTEN
        self.stages.hash_s += time.perf_counter() - start

    def _over_limit(self, cloud: float, snow: float) -> str:
        for what, share, limit in (("cloud", cloud, self.limits.cloud), ("snow", snow, self.limits.snow)):
            if share > limit:
                return f"{what} share {share:.3f} is above the limit {limit:g}"
        return ""

    def _pixels(self, targets: Sequence[npt.NDArray[np.uint16]], patch: Prepared, split: int) -> None:
        planes = []
        for group, window in zip(GROUPS, patch.native, strict=True):
            context = (window.shape[1] - group.patch_px) // 2
            inner = slice(context, context + group.patch_px)
            planes.append(window[:, inner, inner])
        if patch.fine is not None:
            planes.append(patch.fine)
        times = [time.perf_counter()]
        names = [item.name for item in self.schema.pixels]
        sums = {name: plane_sums(part) for name, part in zip(names[1:], planes[1:], strict=True)}
        # data_super holds the 10 m bands as they are: no need to add them up again
        whole = sums.get("data_super")
        sums[names[0]] = plane_sums(planes[0]) if whole is None else whole[:, list(GROUPS[0].super_index)]
        for name, found in sums.items():
            self.sums.add(split, name, found)
        times.append(time.perf_counter())
        for target, part in zip(targets, planes, strict=True):
            target[...] = part.transpose(1, 2, 0)
        times.append(time.perf_counter())
        sum_s, interleave_s = np.diff(times).tolist()
        self.stages.upsample_s += patch.upsample_s
        self.stages.sum_s += sum_s
        self.stages.interleave_s += interleave_s
