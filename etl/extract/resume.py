"""Create a store, or resume the one that an interrupted run left.

On resuming, every finished row is read by one of the ranks and compared with its checksum. Rows that the disk lost are
extracted again, and the statistics of the finished rows are computed again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.extract.inputs import ExtractionInputs, PatchRows, fingerprint_of, initial_columns
from etl.extract.provenance import store_attributes
from etl.mpi import Comm, RootOnly, on_every_rank
from etl.schema import REJECTED, UNWRITTEN, WRITTEN, Schema
from etl.store.checksum import checksum, zero_row_checksum
from etl.store.errors import DamagedStoreError
from etl.store.interface import Backend
from etl.store.journal import Journal, journal_location, row_ranges
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums

__all__ = ["ResumeState", "begin_store", "resume_store", "verify_finished_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class ResumeState:
    """State of a store when extraction starts, whether new or resumed; rank 0 alone has it."""

    journal: Journal
    rows: PatchRows
    """Patches of all rows, and which are pending."""
    written: npt.NDArray[np.intp]
    """Finished rows in state `WRITTEN`, ascending, whose checksums are still to be verified; shape (row,)."""
    schema: Schema
    """Schema of the store: one that an older version began keeps its own."""
    complete: bool = False
    """Whether nothing is left to do."""

    @property
    def rejected(self) -> int:
        """Number of rejected rows so far."""
        return len(self.journal.rejected)

    def reopen_rows(self, rows: list[int]) -> None:
        """Mark these store rows as pending again."""
        self.rows.pending[rows] = True


def begin_store(inputs: ExtractionInputs, rows: PatchRows) -> ResumeState:
    """Create the store, or resume it if --resume is given and there is one; on rank 0.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is not a store.
        OSError: it cannot be written.
    """
    resume = inputs.settings.resume and inputs.store.exists()
    return resume_store(inputs, rows) if resume else _create_store(inputs, rows)


def _create_store(inputs: ExtractionInputs, rows: PatchRows) -> ResumeState:
    """Create the journal and an empty store with all its arrays; rows that cannot be extracted are rejected at once."""
    settings, selection, rejected = inputs.settings, rows.selection, np.flatnonzero(~rows.pending)
    columns = initial_columns(inputs, selection)
    columns["state"][rejected] = REJECTED
    columns["checksum"][rejected] = zero_row_checksum(inputs.schema)
    # journal first: a store without one could not be resumed
    journal = Journal.begin(journal_location(settings.out), fingerprint_of(settings, selection, inputs.method))
    attributes = store_attributes(settings, inputs.schema, inputs.method)
    inputs.store.create(inputs.schema, columns, attributes)
    journal.add(row_ranges(rejected), rows.problems)
    return ResumeState(journal, rows, np.empty(0, np.intp), inputs.schema)


def resume_store(inputs: ExtractionInputs, rows: PatchRows) -> ResumeState:
    """State of the store of an interrupted run; marks it as incomplete, and rejects rows that cannot be extracted now.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is not a store.
        OSError: it cannot be written.
    """
    settings, store, problems = inputs.settings, inputs.store, rows.problems
    journal = Journal.read(journal_location(settings.out), repair=True)  # its last line may be incomplete after a kill
    _require_same_fingerprint(settings.out, journal, fingerprint_of(settings, rows.selection, inputs.method))
    with store.reader() as reader:
        schema, stored = reader.schema, reader.read_columns(("state", "product", "complete"))
    state, finished = stored["state"], _finished_rows(stored["state"], journal)
    if settings.retry_rejected:
        finished &= state != REJECTED
    columns = initial_columns(inputs, rows.selection)
    written, extractable = finished & (state == WRITTEN), rows.pending
    _require_same_products(settings.out, written, stored["product"], columns["product"], problems)
    rejected_now = [row for row in problems if not finished[row]]
    pending = ~finished & extractable
    if not pending.any() and stored["complete"] and not rejected_now:
        return ResumeState(journal, replace(rows, pending=pending), np.empty(0, np.intp), schema, complete=True)
    # incomplete first, on the disk; another product may now match a row that is not finished
    product, baseline = columns["product"].astype(f"S{schema.product_bytes}"), columns["baseline"].astype("S5")
    incomplete = {"complete": np.zeros((), np.uint8), "state": np.where(finished, state, np.uint8(UNWRITTEN))}
    store.overwrite({"product": product, "baseline": baseline, **incomplete})
    # on the disk before the journal names them as finished
    _reject_rows(store, schema, rejected_now)
    journal.add(row_ranges(np.array(rejected_now, np.intp)), {row: problems[row] for row in rejected_now})
    # a shard is written whole, so all rows that share one with a pending row are extracted again
    rejected = (finished & (state == REJECTED)) | ~extractable
    shard = np.arange(len(pending)) // store.shard_rows
    pending = (np.bincount(shard, weights=pending) > 0)[shard] & ~rejected
    return ResumeState(journal, replace(rows, pending=pending), np.flatnonzero(written & ~pending), schema)


def _require_same_fingerprint(out: Location, journal: Journal, fingerprint: Mapping[str, Any]) -> None:
    """Raise a ValueError if the store was begun with another catalogue, source or settings."""
    keys = [*fingerprint, *(key for key in journal.fingerprint if key not in fingerprint)]
    before_and_now = {key: (journal.fingerprint.get(key), fingerprint.get(key)) for key in keys}
    differing = {key: pair for key, pair in before_and_now.items() if pair[0] != pair[1]}
    if differing:
        changes = "; ".join(f"{key} was {before}, is {now}" for key, (before, now) in differing.items())
        needed = "--resume needs the catalogue, source and settings of the first run"
        raise ValueError(f"{needed}; of {out} these differ: {changes}")


def _finished_rows(state: npt.NDArray[np.uint8], journal: Journal) -> npt.NDArray[np.bool_]:
    """Whether the journal names each row as finished, shape (patch,); `state`: state of each row in the store."""
    finished = np.zeros(len(state), bool)
    for first, stop in journal.ranges:
        finished[first:stop] = True
    finished &= (state == WRITTEN) | (state == REJECTED)
    # journalled as rejected, but written since: a later run retried it and was killed before it could journal that
    finished[[row for row in journal.rejected if state[row] == WRITTEN]] = False
    return finished


def _require_same_products(
    out: Location,
    written: npt.NDArray[np.bool_],
    read_from: npt.NDArray[np.bytes_],
    product: npt.NDArray[np.bytes_],
    problems: Mapping[int, str],
) -> None:
    """Raise a ValueError if a `written` row was extracted from another product than the matching one of now.

    All arrays: shape (patch,).
    """
    gone = [row for row in problems if written[row]]
    changed = np.flatnonzero(written & (read_from != product.astype(read_from.dtype))).tolist()
    if gone or changed:
        row = (gone or changed)[0]
        why = f"cannot be extracted again: {problems[row]}" if gone else "--source now has another product for it"
        raise ValueError(
            f"row {row} of {out} was extracted from {read_from[row].decode()}, but {why}; "
            "resume with the --source of the first run"
        )


def _reject_rows(store: Backend, schema: Schema, rows: list[int]) -> None:
    """Set unfinished rows, whatever is in them, to state `REJECTED` with all pixels 0."""
    if rows:
        store.zero_rows(rows)
        values = {item.name: np.nan for item in schema.results if item.name.endswith("_share")}
        values |= {"checksum": zero_row_checksum(schema), "state": REJECTED}
        columns = dict(store.reader().read_columns(values))
        for name, value in values.items():
            columns[name][rows] = value
        store.overwrite(columns)


def verify_finished_rows(inputs: ExtractionInputs, store_state: RootOnly[ResumeState], comm: Comm) -> Sums:
    """Collective: verify the checksums of all finished rows, each rank a part; return the statistics of valid rows.

    Rows with a wrong checksum become pending again, with all rows of their shard.

    Raises:
        JobError: on every rank, if one cannot read the store.
    """
    sums = Sums(inputs.schema.pixels)
    rows = store_state.scatter(lambda state: _assign_shards(state.written, inputs.store.shard_rows, comm.size))
    shard_rows = store_state.bcast(lambda _: inputs.store.shard_rows)
    damaged = on_every_rank(
        comm, "reading finished rows", lambda: _verify_rows(inputs.store, inputs.schema, rows, shard_rows, sums)
    )
    parts = comm.gather(damaged)
    store_state.apply_on_root(lambda state: state.reopen_rows([row for part in parts or [] for row in part]))
    return sums


def _assign_shards(rows: npt.NDArray[np.intp], shard_rows: int, ranks: int) -> list[npt.NDArray[np.intp]]:
    """Ascending `rows` divided over ranks, shape (row,) each; all rows of a shard go to one rank."""
    shards, shard = np.unique(rows // shard_rows, return_inverse=True)
    parts = np.array_split(np.arange(len(shards)), ranks)  # empty ones if there are more ranks than shards
    return [rows[(shard >= part[0]) & (shard <= part[-1])] if len(part) else rows[:0] for part in parts]


def _verify_rows(store: Backend, schema: Schema, rows: npt.NDArray[np.intp], shard_rows: int, sums: Sums) -> list[int]:
    """Rows to extract again: all of `rows` (state `WRITTEN`, ascending) whose shard holds one with a wrong checksum.

    Statistics of the other rows are added to `sums`.
    """
    if not len(rows):
        return []
    damaged: list[int] = []
    with store.reader() as reader:
        columns = reader.read_columns(("checksum", "split"))
        for part in np.split(rows, np.flatnonzero(np.diff(rows // shard_rows)) + 1):
            rows_of_shard = part.tolist()
            statistics = [_row_statistics(reader, row, int(columns["checksum"][row])) for row in rows_of_shard]
            if None in statistics:
                damaged += rows_of_shard
                continue
            for row, of_row in zip(rows_of_shard, statistics, strict=True):
                for item, of_array in zip(schema.pixels, of_row or (), strict=True):
                    sums.add(int(columns["split"][row]), item.name, of_array)
    return damaged


def _row_statistics(reader: StoreReader, row: int, expected: int) -> list[npt.NDArray[np.int64]] | None:
    """Statistics of each pixel data set of a row, or None if the row does not match its `expected` checksum."""
    try:
        arrays = reader.row(row)
    except DamagedStoreError:  # a shard that was half-written when a run was killed
        return None
    return [row_sums(pixels) for pixels in arrays] if checksum(arrays) == expected else None
