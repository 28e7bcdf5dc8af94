"""Extract patches and fill batches with them, in a thread; the main thread writes earlier batches meanwhile."""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.extract.assignment import RankAssignment
from etl.extract.batch import Batch
from etl.extract.candidates import OpenRow, lacking
from etl.extract.prefetch import prefetch
from etl.extract.prepared_patch import PreparedPatch, sums_of_planes
from etl.extract.settings import ExtractSettings
from etl.extract.upsampling import ReadyUpsampling
from etl.heartbeat import doing
from etl.pixel_groups import SENTINEL1
from etl.schema import REJECTED, STATS, WRITTEN, DataSet, RowSpan, Schema
from etl.source.block import OutgoingBlock
from etl.source.interface import PatchSource, SourcePatch
from etl.source.patch import UNKNOWN_SHARES, PatchError, pixel_shares
from etl.source.sentinel1 import PairedPatch, Sentinel1Patches
from etl.stage_timer import StageTimer
from etl.store.checksum import checksum
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums

__all__ = ["PatchPipeline"]

_LONGEST_PATCH_S = 30.0

_BATCHES = 2
"""Batches in memory: one is filled while the other is written."""

_PREFETCH_DEPTH = 4
"""Patches that are decoded while networks run on others."""


@dataclass(slots=True, eq=False)
class PatchPipeline:
    """Fills batches in a thread; the main thread takes them from `filled` and gives them back to `free`."""

    source: PatchSource
    sentinel1: Sentinel1Patches | None
    """Reads the patches of Sentinel-1 that are stored beside those of `source`; None if they are not wanted."""
    schema: Schema
    upsampling: ReadyUpsampling
    settings: ExtractSettings
    assignment: RankAssignment
    send: Callable[[OutgoingBlock], None]
    """Hands a block over for sending to other ranks."""
    stored: StoreReader | None
    """The store as it was before, if rows of it are to be kept: those of earlier passes, and others of a shard."""
    timer: StageTimer
    sums: Sums = field(init=False)
    """Statistics of the rows extracted so far."""
    filled: "queue.SimpleQueue[Batch]" = field(default_factory=queue.SimpleQueue)
    """Batches to write."""
    free: "queue.SimpleQueue[Batch | None]" = field(default_factory=queue.SimpleQueue)
    """Batches to fill; None ends the thread."""
    empty: Batch = field(init=False)
    """A batch of no rows, for the rounds in which this rank has nothing to write."""
    written: int = 0
    """Patches whose pixels went into batches, once each: those that are not open."""
    open_rows: dict[int, OpenRow] = field(default_factory=dict)
    """Rows that lack pixels, and of which a further product is to be read."""
    unrepaired: dict[int, str] = field(default_factory=dict)
    """Damaged rows that stay as they are, and why they could not be extracted again, by row."""
    from_later: int = 0
    """Written patches that another than the first product of their acquisition serves."""
    with_nodata: int = 0
    """Written patches that lack data somewhere."""
    without_backscatter: int = 0
    """Written patches that have no pixel of Sentinel-1, though it is wanted."""
    with_empty_band: int = 0
    """Written patches that lack data everywhere in at least one band."""
    error: BaseException | None = None
    """Exception that ended the thread early."""
    _stopped: bool = False
    _native: tuple[DataSet, ...] = field(init=False)
    """Data sets of pixels as read."""
    _paired: dict[int, PairedPatch] = field(init=False)
    """Patch of Sentinel-1 by row; empty if they are not wanted."""
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.sums = Sums(self.schema.pixels)
        self._native = self.schema.optical
        self._paired = dict(zip(self.assignment.rows.tolist(), self.assignment.paired, strict=False))
        self.empty = Batch(self.schema, 0)
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)
        batches = self.assignment.batches
        capacity = max((span.stop - span.first for span in batches), default=0)
        for _ in range(min(_BATCHES, len(batches))):
            self.free.put(Batch(self.schema, capacity))

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread after its current patch or block, waiting for up to 30 seconds.

        Decoding must not continue while the process ends.
        """
        self._stopped = True
        self.free.put(None)
        self._thread.join(_LONGEST_PATCH_S)

    def _run(self) -> None:
        try:
            for block in self.source.outgoing():
                self.send(block)
                if self._stopped:
                    return
            if self.upsampling.workers:
                patches = prefetch(self.source.patches(), self._prepare, self.upsampling.workers, _PREFETCH_DEPTH)
                with contextlib.closing(patches) as prepared:
                    self._fill_all(prepared)
            else:
                buffer = self._new_upsampled() if self.upsampling.upsampler else None
                self._fill_all(self._prepare(patch, buffer) for patch in self.source.patches())
        except BaseException as error:  # the main thread raises it again, and etl.mpi then ends the job
            self.error = error

    def _fill_all(self, patches: Iterator[PreparedPatch]) -> None:
        for span in self.assignment.batches:
            with self.timer.stage("blocked_s"), doing("waiting for the writer", waits=True):
                batch = self.free.get()
            if batch is None:
                return
            self._fill(batch, span, patches)
            if self._stopped:
                return
            self.filled.put(batch)

    def _fill(self, batch: Batch, span: RowSpan, patches: Iterator[PreparedPatch]) -> None:
        first, stop = np.searchsorted(self.assignment.rows, span)
        batch.begin(span, self.assignment.rows[first:stop], self.stored)
        for number in range(first, stop):
            if self._stopped:
                return
            row = self.assignment.rows[number]
            with doing(f"extracting row {row}", waits=True):  # by itself, or in threads that note what they do
                patch = next(patches, None)
            if patch is None or patch.row != row:
                raise RuntimeError(f"the source must give row {row} next, got {patch and patch.row}")
            self._place(batch, patch, number)

    def _new_upsampled(self) -> npt.NDArray[np.uint16]:
        """Buffer for one patch's `data_super`, shape (band, row, col)."""
        rows, columns, bands = next(item.row_shape for item in self.schema.pixels if item.name == "data_super")
        return np.empty((bands, rows, columns), np.uint16)

    def _prepare(self, source_patch: SourcePatch, upsampled: npt.NDArray[np.uint16] | None = None) -> PreparedPatch:
        """The patch upsampled into the given buffer, or a new one, unless it is rejected; any thread."""
        row, patch = source_patch
        earlier = self.assignment.earlier.get(row)
        if isinstance(patch, PatchError):
            return PreparedPatch(row, UNKNOWN_SHARES, str(patch), earlier=earlier)
        native = tuple(map(_without_halo, self._native, patch.native))
        nodata = self._native[0].nodata
        shares, upsampler = pixel_shares(native, patch.scl, nodata), self.upsampling.upsampler
        empty = shares.nodata == 1 and all((part == nodata).all() for part in native)
        lacks = lacking(shares, empty, self.settings.needs_classes)
        if earlier is not None and lacks[0] >= earlier.lacking:
            return PreparedPatch(row, shares, earlier.problem, *lacks, earlier=earlier)
        problem = "no pixel has data in any band" if empty else self.settings.over_limit(*shares)
        backscatter = None if problem or self.sentinel1 is None else self.sentinel1.read(self._paired[row])
        if isinstance(backscatter, PatchError):
            problem, backscatter = str(backscatter), None
        if problem or upsampler is None:
            return PreparedPatch(row, shares, problem, *lacks, () if problem else native, backscatter=backscatter)
        start = time.perf_counter()
        upsampled = self._new_upsampled() if upsampled is None else upsampled
        with doing(f"upsampling row {row}"):
            upsampler(patch.native, upsampled)
        seconds = time.perf_counter() - start
        return PreparedPatch(row, shares, "", *lacks, native, upsampled, seconds, backscatter=backscatter)

    def _place(self, batch: Batch, patch: PreparedPatch, number: int) -> None:
        """Fill the row of the batch that belongs to a patch, the `number`-th of the assignment, with all its results.

        The row is finished, and counted, if no further product of it is to be read.
        """
        if patch.row in self.assignment.repair and self.stored is not None:
            self._place_repaired(batch, patch, number, self.stored)
            return
        best = patch.earlier or OpenRow(patch.problem, patch.lacking, self.assignment.candidate, 0, patch.missing)
        copy_may_serve = patch.missing != "pixels"
        following = int(self.assignment.following[number, int(copy_may_serve)]) if best.lacking > 0 else 0
        if following:
            self.open_rows[patch.row] = best._replace(following=following)
        else:
            batch.finish(patch.row, best.problem)
            self.from_later += best.served > 0 and not best.problem
        if patch.earlier is None:
            self._place_results(batch, patch, number, not following)
        elif self.stored is not None:
            batch.copy_stored(self.stored, np.array([patch.row]))
            if not (following or best.problem):
                self._count_stored(batch, patch.row, int(self.assignment.splits[number]))

    def _place_repaired(self, batch: Batch, patch: PreparedPatch, number: int, stored: StoreReader) -> None:
        """Fill a damaged row with the patch if this gives the pixels that the row had; else it stays as it was.

        It does if they give the stored checksum, or are those stored, so that the checksum is what is damaged.
        """
        row, place = patch.row, patch.row - batch.first
        batch.keep_stored(stored, row)
        sums = int(stored.column("checksum")[row]), checksum([array[place] for array in batch.pixels.values()])
        if not patch.problem and patch.earlier is None:
            self._place_results(batch, patch, number, False)
            if int(batch.results["checksum"][place]) in sums:
                self._count(patch, int(self.assignment.splits[number]))
                self.from_later += self.assignment.candidate > 0
                batch.finish(row, "")
                return
            batch.keep_stored(stored, row)
        if following := int(self.assignment.following[number, 1]):
            self.open_rows[row] = OpenRow(patch.problem, math.inf, self.assignment.candidate, following)
        else:
            self.unrepaired[row] = patch.problem or "the source now gives other pixels"

    def _place_results(self, batch: Batch, patch: PreparedPatch, number: int, finished: bool) -> None:
        """Copy pixels and results of a patch into its row of the batch; they are counted if it is `finished`."""
        position = patch.row - batch.first
        results, pixels = batch.results, {name: array[position] for name, array in batch.pixels.items()}
        for name, values in self.assignment.served.items():
            results[name][position] = values[self.assignment.serving[number]]
        for name, share in patch.shares._asdict().items():
            if f"{name}_share" in results:  # stores of schema version 1 have no `nodata_share`
                results[f"{name}_share"][position] = share
        if patch.problem:
            for target in pixels.values():  # the buffer still holds an earlier patch
                target[...] = 0
        else:
            self._place_pixels(pixels, patch)
            if finished:
                self._count(patch, int(self.assignment.splits[number]))
        with self.timer.stage("hash_s"):
            results["checksum"][position] = checksum(list(pixels.values()))
            results["state"][position] = REJECTED if patch.problem else WRITTEN

    def _place_pixels(self, targets: Mapping[str, npt.NDArray[Any]], patch: PreparedPatch) -> None:
        """Copy the patch's pixels to `targets`, shape (row, col, band)."""
        self.timer.add("upsample_s", patch.upsample_s)
        with self.timer.stage("interleave_s"):
            for name, part in patch.planes(self._native).items():
                targets[name][...] = part.transpose(1, 2, 0)

    def _count(self, patch: PreparedPatch, split: int) -> None:
        """Count a written patch, and add the statistics of its pixels to those of its split."""
        self.written += 1
        self.with_nodata += patch.shares.nodata > 0
        self.without_backscatter += patch.backscatter is not None and bool(np.isnan(patch.backscatter).all())
        self.with_empty_band += patch.empty_bands(self._native[0].nodata)
        with self.timer.stage("sum_s"):
            for name, sums in sums_of_planes(patch.planes(self._native), self._native[0]).items():
                self.sums.add(split, name, sums)

    def _count_stored(self, batch: Batch, row: int, split: int) -> None:
        """Add the statistics of a written row that was copied from the store to `sums`; it lacks pixels."""
        empty = False
        with self.timer.stage("sum_s"):
            for name, array in batch.pixels.items():
                sums = row_sums(array[row - batch.first], self._native[0].nodata, self._native[0].saturated)
                self.sums.add(split, name, sums)
                lacks_all = sums[STATS.index("nodata")] == array[0, ..., 0].size
                if name == SENTINEL1:
                    self.without_backscatter += bool(lacks_all.all())
                else:
                    empty |= bool(lacks_all.any())
        self.written += 1
        self.with_nodata += 1
        self.with_empty_band += empty


def _without_halo(item: DataSet, window: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """The pixels of the patch itself, shape (band, row, col), of a window with a halo around them."""
    rows, columns, _ = item.row_shape
    halo = (window.shape[1] - rows) // 2
    return window[:, halo : halo + rows, halo : halo + columns]
