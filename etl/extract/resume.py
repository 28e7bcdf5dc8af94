"""Create a store, or resume the one that an interrupted run left: what is finished, and what is left to do.

Every finished row is read once, by all ranks between them, and compared with its checksum: a row that the disk lost is
found and made again, and the statistics of the finished rows are gathered anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.extract.inputs import (
    CatalogueSelection,
    ExtractionInputs,
    PatchPlacement,
    PendingRows,
    fingerprint_of,
    initial_columns,
    place_patches,
)
from etl.extract.provenance import store_attributes
from etl.mpi import Comm, RootOnly, on_every_rank
from etl.schema import REJECTED, UNWRITTEN, WRITTEN, Schema
from etl.store.backend import Backend
from etl.store.byte_ranges import TornError
from etl.store.checksum import checksum, zero_row_checksum
from etl.store.journal import Journal, journal_path, row_ranges
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums

__all__ = ["ResumeState", "begin_store", "resume_store", "verify_finished_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class ResumeState:
    """A store that is there, and what is left to do; rank 0 alone has it."""

    journal: Journal
    rows: PendingRows
    written: npt.NDArray[np.intp]
    """Finished rows in state 1, ascending, whose checksums are still to be verified."""
    complete: bool = False
    """Whether nothing is left to do."""

    @property
    def rejected(self) -> int:
        """Number of rejected rows so far."""
        return len(self.journal.rejected)

    def reopen_rows(self, rows: list[int]) -> None:
        """Have these store rows made again."""
        self.rows.pending[rows] = True


@dataclass(frozen=True, slots=True, eq=False)
class InterruptedRun:
    """What an interrupted run left in its store and journal. Arrays of shape (patch,)."""

    complete: bool
    """Whether the run had finished."""

    done: npt.NDArray[np.bool_]
    """Rows that the journal names as finished."""

    state: npt.NDArray[np.uint8]
    """State of each row."""

    product: npt.NDArray[np.bytes_]
    """Product from which each row was made."""


def begin_store(inputs: ExtractionInputs, selection: CatalogueSelection) -> ResumeState:
    """Create the store, or resume it where --resume is given and there is one; on rank 0.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is no store.
        OSError: it cannot be written.
    """
    placement = place_patches(selection, inputs.inspections)
    if inputs.settings.resume and inputs.store.exists():
        return resume_store(inputs, selection, placement)
    return _create_store(inputs, selection, placement)


def _create_store(inputs: ExtractionInputs, selection: CatalogueSelection, placement: PatchPlacement) -> ResumeState:
    """Journal and complete, empty store; rows that cannot be made are rejected from the start."""
    settings, rejected = inputs.settings, placement.rejected
    columns = initial_columns(selection, inputs.inspections)
    columns["state"][rejected] = REJECTED
    columns["checksum"][rejected] = zero_row_checksum(inputs.schema)
    # journal first: a store without one could not be resumed
    journal = Journal.begin(journal_path(settings.out), fingerprint_of(settings, selection, inputs.method))
    attributes = store_attributes(settings, selection.catalogue.nomenclature, inputs.method)
    inputs.store.create(inputs.schema, columns, attributes)
    journal.add(row_ranges(rejected), placement.problems)
    rows = PendingRows(selection, placement.cells, placement.makeable, inputs.store.shard_rows)
    return ResumeState(journal, rows, np.empty(0, np.intp))


def resume_store(inputs: ExtractionInputs, selection: CatalogueSelection, placement: PatchPlacement) -> ResumeState:
    """What an interrupted run left to do; sets its store back to incomplete and rejects what cannot be made any more.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is no store.
        OSError: it cannot be written.
    """
    settings, store, problems = inputs.settings, inputs.store, placement.problems
    shard_rows = store.shard_rows
    journal = Journal.read(journal_path(settings.out), repair=True)  # a kill can tear its last line
    run = _read_interrupted_run(store, settings.out, journal, fingerprint_of(settings, selection, inputs.method))
    done = run.done & (run.state != REJECTED) if settings.retry_rejected else run.done.copy()
    columns = initial_columns(selection, inputs.inspections)
    _require_same_products(settings.out, run, done, columns["product"], problems)
    rejected_now = np.array([row for row in sorted(problems) if not done[row]], np.intp)
    pending = ~done
    pending[rejected_now] = False
    if not pending.any() and run.complete and not len(rejected_now):
        rows = PendingRows(selection, placement.cells, pending, shard_rows)
        return ResumeState(journal, rows, np.empty(0, np.intp), complete=True)
    _set_incomplete(inputs, columns, np.where(done, run.state, np.uint8(UNWRITTEN)))
    _reject_rows(store, inputs.schema, rejected_now)
    journal.add(row_ranges(rejected_now), {int(row): problems[int(row)] for row in rejected_now})
    # a shard is written whole, so rows that share one with a pending row are made again
    rejected = done & (run.state == REJECTED)
    rejected[list(problems)] = True
    pending = _whole_shards(pending, rejected, shard_rows)
    written = np.flatnonzero(done & ~pending & (run.state == WRITTEN))
    return ResumeState(journal, PendingRows(selection, placement.cells, pending, shard_rows), written)


def _read_interrupted_run(
    store: Backend, out: Path, journal: Journal, fingerprint: Mapping[str, Any]
) -> InterruptedRun:
    """What is in the store and its journal.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is no store.
    """
    differing = [key for key in fingerprint if journal.fingerprint.get(key) != fingerprint[key]]
    if differing:
        changes = "; ".join(f"{key} was {journal.fingerprint.get(key)}, is {fingerprint[key]}" for key in differing)
        raise ValueError(f"{out} can only be resumed with what it was begun with: {changes}")
    columns = store.reader().read_columns(("state", "product", "complete"))
    state = columns["state"]
    done = np.zeros(len(state), bool)
    for first, stop in journal.ranges:
        done[first:stop] = True
    done &= (state == WRITTEN) | (state == REJECTED)
    # journalled as rejected and written since: tried again by a run that was killed before it could journal that
    done[[row for row in journal.rejected if state[row] == WRITTEN]] = False
    return InterruptedRun(bool(columns["complete"]), done, state, columns["product"])


def _require_same_products(
    out: Path,
    run: InterruptedRun,
    done: npt.NDArray[np.bool_],
    product: npt.NDArray[np.bytes_],
    problems: Mapping[int, str],
) -> None:
    """Raise a ValueError where a finished row was made from another product than the one that serves it now."""
    written = done & (run.state == WRITTEN)
    gone = [row for row in sorted(problems) if written[row]]
    if gone:
        raise ValueError(
            f"row {gone[0]} of {out} was made from {run.product[gone[0]].decode()}, but cannot be made again: "
            f"{problems[gone[0]]}; resume with the same --source"
        )
    changed = written & (run.product != product.astype(run.product.dtype))
    if changed.any():
        row = int(changed.argmax())
        raise ValueError(
            f"row {row} of {out} was made from {run.product[row].decode()}, which is not the product that serves it "
            "now; resume with the same --source"
        )


def _set_incomplete(
    inputs: ExtractionInputs, columns: Mapping[str, npt.NDArray[Any]], state: npt.NDArray[np.uint8]
) -> None:
    """Say on the disk that the store is incomplete; products may be others now for rows that are not made yet."""
    inputs.store.overwrite(
        {
            "product": columns["product"].astype(f"S{inputs.schema.product_bytes}"),
            "baseline": columns["baseline"].astype("S5"),
            "complete": np.zeros((), np.uint8),
            "state": state,
        }
    )


def _reject_rows(store: Backend, schema: Schema, rows: npt.NDArray[np.intp]) -> None:
    """Set unfinished rows, whatever is in them, to state 2 with all pixels 0."""
    if len(rows):
        store.zero_rows(rows.tolist())
        values = {"cloud_share": np.nan, "snow_share": np.nan, "checksum": zero_row_checksum(schema), "state": REJECTED}
        columns = dict(store.reader().read_columns(values))
        for name, value in values.items():
            columns[name][rows] = value
        store.overwrite(columns)


def _whole_shards(
    pending: npt.NDArray[np.bool_], rejected: npt.NDArray[np.bool_], shard_rows: int
) -> npt.NDArray[np.bool_]:
    """`pending` and the rows that share a shard with it, shape (patch,), but for those `rejected`."""
    shard = np.arange(len(pending)) // shard_rows
    touched = np.bincount(shard, weights=pending) > 0
    return touched[shard] & ~rejected


def verify_finished_rows(inputs: ExtractionInputs, state: RootOnly[ResumeState], comm: Comm) -> Sums:
    """Collective: sums over the pixels of this rank's part of the finished rows.

    Rows whose pixels have not their checksum become pending again, with all rows of their shard.

    Raises:
        JobError: on every rank, where one cannot read the store.
    """
    sums = Sums(inputs.schema.pixels)
    rows = state.scatter(lambda root: _assign_shards(root.written, root.rows.shard_rows, comm.size))
    shard_rows = state.bcast(lambda root: root.rows.shard_rows)
    damaged = on_every_rank(
        comm, "reading finished rows", lambda: _verify_rows(inputs.store, inputs.schema, rows, shard_rows, sums)
    )
    parts = comm.gather(damaged)
    state.then(lambda root: root.reopen_rows([row for part in parts or [] for row in part]))
    return sums


def _assign_shards(rows: npt.NDArray[np.intp], shard_rows: int, ranks: int) -> list[npt.NDArray[np.intp]]:
    """Ascending `rows` split over ranks, those of one shard to one rank."""
    shards, shard = np.unique(rows // shard_rows, return_inverse=True)
    parts = np.array_split(np.arange(len(shards)), ranks)
    return [rows[(shard >= part[0]) & (shard <= part[-1])] if len(part) else rows[:0] for part in parts]


def _verify_rows(store: Backend, schema: Schema, rows: npt.NDArray[np.intp], shard_rows: int, sums: Sums) -> list[int]:
    """Those of `rows` (state 1, ascending) in whose shard a row lacks its checksum; `sums` takes all others."""
    if not len(rows):
        return []
    damaged: list[int] = []
    edges = [0, *(np.flatnonzero(np.diff(rows // shard_rows)) + 1).tolist(), len(rows)]
    with store.reader() as reader:
        columns = reader.read_columns(("checksum", "split"))
        for first, stop in pairwise(edges):
            shard = rows[first:stop].tolist()
            statistics = [_row_statistics(reader, row, int(columns["checksum"][row])) for row in shard]
            if None in statistics:
                damaged += shard
                continue
            for row, parts in zip(shard, statistics, strict=True):
                for item, part in zip(schema.pixels, parts or (), strict=True):
                    sums.add(int(columns["split"][row]), item.name, part)
                sums.fold()
    return damaged


def _row_statistics(reader: StoreReader, row: int, expected: int) -> list[npt.NDArray[np.int64]] | None:
    """Statistics of each pixel data set of a row, or None where its pixels have not the `expected` checksum."""
    try:
        parts = reader.row(row)
    except TornError:  # a shard that was half-written when a run was killed
        return None
    return [row_sums(part) for part in parts] if checksum(parts) == expected else None
