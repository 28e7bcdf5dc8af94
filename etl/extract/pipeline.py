"""From a source's patches to full batches, in a thread of its own, while the main thread writes earlier batches."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.extract.assignment import RankAssignment
from etl.extract.batch import Batch
from etl.extract.prefetch import prefetch
from etl.extract.settings import ExtractSettings
from etl.schema import REJECTED, WRITTEN, Schema
from etl.source.patch import Patch, PatchError, cloud_snow_fraction
from etl.source.tiles import BlockData
from etl.stage_timer import StageTimer
from etl.store.checksum import checksum
from etl.store.statistics import Sums, plane_sums
from etl.upsample.method import Upsampler

__all__ = ["PatchPipeline", "PatchSource"]

_LONGEST_PATCH_S = 30.0

_BATCHES = 2
"""Batches in memory: one is filled while the other is written."""

_PREFETCH_DEPTH = 4
"""Patches that are decoded while networks run on others."""


class PatchSource(Protocol):
    """Where one rank's patches come from."""

    def outgoing(self) -> Iterator[tuple[BlockData, tuple[int, ...]]]:
        """Blocks of pixels that other ranks wait for, each with those ranks; exhausted before `patches` is begun."""

    def patches(self) -> Iterator[tuple[int, Patch | PatchError]]:
        """(store row, pixels of the patch or why there are none), in store order."""


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPatch:
    """One patch, upsampled or rejected, before it is copied into a batch."""

    cloud: float
    """Fraction of cloud and shadow pixels, 0 to 1; NaN without a scene classification."""

    snow: float
    """Fraction of snow pixels, 0 to 1; NaN without a scene classification."""

    problem: str
    """Why the patch is rejected; empty where it is kept."""

    native: tuple[npt.NDArray[np.uint16], ...] = ()
    """The three groups with their halo, shape (band, row, col); empty for a rejected patch."""

    fine: npt.NDArray[np.uint16] | None = None
    """`data_super`, shape (band, row, col); None if nothing is upsampled."""

    upsample_s: float = 0.0
    """Seconds that upsampling took."""

    def planes(self) -> dict[str, npt.NDArray[np.uint16]]:
        """Pixels by data set, without halo, shape (band, row, col)."""
        planes = {}
        for group, window in zip(GROUPS, self.native, strict=True):
            halo = (window.shape[1] - group.patch_px) // 2
            inner = slice(halo, halo + group.patch_px)
            planes[f"data_{group.name}"] = window[:, inner, inner]
        return planes if self.fine is None else {**planes, "data_super": self.fine}


@dataclass(slots=True, eq=False)
class PatchPipeline:
    """Fills batches in a thread; the main thread takes them from `filled` and gives them back to `free`."""

    source: PatchSource
    schema: Schema
    upsampler: Upsampler | None
    """None if nothing is upsampled."""
    settings: ExtractSettings
    assignment: RankAssignment
    send: Callable[[BlockData, tuple[int, ...]], None]
    """Hands a block over for sending to other ranks."""
    timer: StageTimer
    workers: int = 0
    """Threads that upsample one patch each while others are decoded; 0: in the pipeline's own thread."""
    sums: Sums = field(init=False)
    """Statistics of the rows made so far."""
    filled: "queue.SimpleQueue[Batch]" = field(default_factory=queue.SimpleQueue)
    free: "queue.SimpleQueue[Batch | None]" = field(default_factory=queue.SimpleQueue)
    """Batches to fill; None ends the thread."""
    empty: Batch = field(init=False)
    """A batch of no rows, for the rounds in which this rank has nothing to write."""
    error: BaseException | None = None
    """What ended the thread before its time."""
    _stopped: bool = False
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.sums = Sums(self.schema.pixels)
        self.empty = Batch(self.schema, 0)
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        batches = self.assignment.batches
        capacity = max((stop - first for first, stop in batches), default=0)
        for _ in range(min(_BATCHES, len(batches))):
            self.free.put(Batch(self.schema, capacity))

    def start(self) -> None:
        """Begin filling."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after the patch or block that it is at, waiting for up to 30 seconds.

        Decoding must not go on while the process ends.
        """
        self._stopped = True
        self.free.put(None)
        self._thread.join(_LONGEST_PATCH_S)

    def _run(self) -> None:
        try:
            for data, ranks in self.source.outgoing():
                self.send(data, ranks)
                if self._stopped:
                    return
            if self.workers:
                patches = prefetch(self.source.patches(), self._prepare, self.workers, _PREFETCH_DEPTH)
                with contextlib.closing(patches) as prepared:
                    self._fill_all(prepared)
            else:
                buffer = self._new_fine() if self.upsampler else None
                self._fill_all((row, self._prepare(patch, buffer)) for row, patch in self.source.patches())
        except BaseException as error:  # raised again by the main thread, which other ranks listen to
            self.error = error

    def _fill_all(self, prepared: Iterator[tuple[int, PreparedPatch]]) -> None:
        # strict: a source that gives fewer patches than were planned must not pass unnoticed
        patches = zip(prepared, self.assignment.splits.tolist(), strict=True)
        for first, stop in self.assignment.batches:
            with self.timer.stage("blocked_s"):
                batch = self.free.get()
            if batch is None:
                return
            self._fill(batch, first, stop, patches)
            if self._stopped:
                return
            self.filled.put(batch)

    def _fill(
        self, batch: Batch, first: int, stop: int, patches: Iterator[tuple[tuple[int, PreparedPatch], int]]
    ) -> None:
        rows = self.assignment.rows
        to_make = rows[slice(*np.searchsorted(rows, (first, stop)))]
        batch.begin(first, stop, to_make)
        for row in to_make.tolist():
            if self._stopped:
                return
            (source_row, patch), split = next(patches)
            if source_row != row:
                raise RuntimeError(f"the source must give row {row} next, got {source_row}")
            self._place(batch, row - first, patch, split)

    def _new_fine(self) -> npt.NDArray[np.uint16]:
        """Buffer for one patch's `data_super`, shape (band, row, col)."""
        rows, columns, bands = next(item.row_shape for item in self.schema.pixels if item.name == "data_super")
        return np.empty((bands, rows, columns), np.uint16)

    def _prepare(self, patch: Patch | PatchError, fine: npt.NDArray[np.uint16] | None = None) -> PreparedPatch:
        """The patch upsampled into `fine`, or a buffer of its own, unless it is rejected; any thread."""
        if isinstance(patch, PatchError):
            return PreparedPatch(*cloud_snow_fraction(None), str(patch))
        cloud, snow = cloud_snow_fraction(patch.scl)
        problem = self.settings.over_limit(cloud, snow)
        if problem or self.upsampler is None:
            return PreparedPatch(cloud, snow, problem, () if problem else patch.native)
        start = time.perf_counter()
        fine = self._new_fine() if fine is None else fine
        self.upsampler(patch.native, fine)
        return PreparedPatch(cloud, snow, "", patch.native, fine, time.perf_counter() - start)

    def _place(self, batch: Batch, position: int, patch: PreparedPatch, split: int) -> None:
        """Copy one patch to its position in the batch, with all that is said of it."""
        results, pixels = batch.results, {name: array[position] for name, array in batch.pixels.items()}
        results["cloud_share"][position], results["snow_share"][position] = patch.cloud, patch.snow
        if patch.problem:
            batch.rejected[batch.first + position] = patch.problem
            for target in pixels.values():  # the buffer still holds an earlier patch
                target[...] = 0
        else:
            self._place_pixels(pixels, patch, split)
        with self.timer.stage("hash_s"):
            results["checksum"][position] = checksum(list(pixels.values()))
            results["state"][position] = REJECTED if patch.problem else WRITTEN

    def _place_pixels(self, targets: Mapping[str, npt.NDArray[np.uint16]], patch: PreparedPatch, split: int) -> None:
        """Sum up the patch's pixels and copy them to `targets`, shape (row, col, band)."""
        planes = patch.planes()
        self.timer.add("upsample_s", patch.upsample_s)
        with self.timer.stage("sum_s"):
            for name, sums in _plane_sums(planes).items():
                self.sums.add(split, name, sums)
        with self.timer.stage("interleave_s"):
            for name, part in planes.items():
                targets[name][...] = part.transpose(1, 2, 0)


def _plane_sums(planes: Mapping[str, npt.NDArray[np.uint16]]) -> dict[str, npt.NDArray[np.int64]]:
    """Statistics of each data set's planes; data_super holds the 10 m bands unchanged, so those are summed once."""
    finest, upsampled = f"data_{GROUPS[0].name}", "data_super" in planes
    sums = {name: plane_sums(part) for name, part in planes.items() if not (upsampled and name == finest)}
    return sums | {finest: sums["data_super"][:, list(GROUPS[0].super_index)]} if upsampled else sums
