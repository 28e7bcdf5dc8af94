"""Create a store, or resume the one that an interrupted run left.

On resuming, every finished row is read by one of the ranks and compared with its checksum. Rows that the disk lost are
extracted again, and the statistics of the finished rows are computed again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.extract.candidates import Candidates, OpenRow, names_of
from etl.extract.fixed_candidates import (
    StoredRows,
    candidate_contents,
    changed_contents,
    fixed_candidates,
    refusal,
    replaced_products,
    rows_of_replaced_products,
)
from etl.extract.inputs import (
    CatalogueSelection,
    ExtractionInputs,
    fingerprint_of,
    initial_columns,
)
from etl.extract.patch_rows import PatchRows, place_patches
from etl.extract.provenance import store_attributes
from etl.heartbeat import now_doing
from etl.mpi import Comm, RootOnly, on_every_rank
from etl.schema import REJECTED, UNWRITTEN, WRITTEN, Schema
from etl.store.checksum import checksum, zero_row_checksum
from etl.store.errors import DamagedStoreError
from etl.store.interface import Backend
from etl.store.journal import Journal, journal_location, row_ranges
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.stalled_units import add_stalled_units, read_stalled_units
from etl.store.statistics import Sums, row_sums

__all__ = ["ResumeState", "begin_store", "resume_store", "verify_finished_rows"]

_SERVED = ("product", "baseline")
"""Columns that tell which product a row was read from."""


@dataclass(slots=True, eq=False)
class ResumeState:
    """State of a store when extraction starts, whether new or resumed; rank 0 alone has it."""

    journal: Journal
    rows: PatchRows
    """Patches of all rows, and which are pending."""
    written: npt.NDArray[np.intp]
    """Finished rows in state `WRITTEN`, ascending, whose checksums are still to be verified; shape (row,)."""
    schema: Schema
    """Schema of the store: one that an older version began keeps its own."""
    candidates: Candidates
    """As of `ExtractionInputs`, but of a resumed store only those with which it was begun."""
    complete: bool = False
    """Whether nothing is left to do."""
    open_rows: dict[int, OpenRow] = field(default_factory=dict)
    """Rows of which further products are to be read, after the passes so far."""

    @property
    def rejected(self) -> int:
        """Number of rejected rows so far."""
        return len(self.journal.rejected)

    def reopen_rows(self, rows: list[int], store: Backend) -> None:
        """Mark these store rows as pending again, and journal that they are."""
        self.rows.pending[rows] = True
        self.journal.reopen(np.array(sorted(rows), np.intp))
        store.claim_rows(np.array(rows, np.intp))

    def next_pass(self, number: int, parts: Sequence[Mapping[int, OpenRow]]) -> int:
        """Number of the candidates to read after pass `number`, in which each rank left a part open; 0 if none is.

        The rows that need them become the pending ones.
        """
        self.open_rows = {row: item for row, item in self.open_rows.items() if item.following > number}
        for part in parts:
            self.open_rows |= part
        following = min((item.following for item in self.open_rows.values()), default=0)
        self.rows.pending[:] = False
        self.rows.pending[[row for row, item in self.open_rows.items() if item.following == following]] = True
        return following


def begin_store(inputs: ExtractionInputs, selection: CatalogueSelection) -> ResumeState:
    """Create the store, or resume it if --resume is given and there is one; on rank 0.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is not a store.
        OSError: it cannot be written.
    """
    resume = inputs.settings.resume and inputs.store.exists()
    return resume_store(inputs, selection) if resume else _create_store(inputs, selection)


def _create_store(inputs: ExtractionInputs, selection: CatalogueSelection) -> ResumeState:
    """Create the journal and an empty store with all its arrays; rows that cannot be extracted are rejected at once."""
    settings, rows = inputs.settings, place_patches(inputs, selection)
    rejected = np.flatnonzero(~rows.pending)
    columns = initial_columns(inputs, selection)
    columns["state"][rejected] = REJECTED
    columns["checksum"][rejected] = zero_row_checksum(inputs.schema)
    # journal first: a store without one could not be resumed
    names = (names_of(numbers, inputs.inspections) for numbers in inputs.candidates)
    candidates = {} if inputs.is_archive else dict(zip(selection.listed_products, names, strict=True))
    fingerprint = fingerprint_of(settings, selection, inputs.method)
    contents, location = candidate_contents(candidates.values(), inputs, selection), journal_location(settings.out)
    journal = Journal.begin(location, fingerprint, candidates, contents, inputs.store.write_beside)
    if inputs.guard.refused:
        add_stalled_units(inputs.store, inputs.guard.refused)
    attributes = store_attributes(settings, inputs.schema, inputs.method)
    inputs.store.create(inputs.schema, columns, attributes)
    journal.add(row_ranges(rejected), rows.problems)
    return ResumeState(journal, rows, np.empty(0, np.intp), inputs.schema, inputs.candidates)


def resume_store(inputs: ExtractionInputs, selection: CatalogueSelection) -> ResumeState:
    """State of the store of an interrupted run; marks it as incomplete, and rejects rows that cannot be extracted now.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is not a store.
        OSError: it cannot be written.
    """
    settings, store = inputs.settings, inputs.store
    # its last line may be incomplete after a kill
    journal = Journal.read(journal_location(settings.out), repair=True, write=store.write_beside)
    _require_same_fingerprint(settings.out, journal, fingerprint_of(settings, selection, inputs.method))
    store.claim_columns(initial_columns(inputs, selection))
    with store.reader() as reader:
        schema, stored = reader.schema, reader.read_columns(("state", "product", "baseline", "complete"))
    state, named = stored["state"], journal.finished_rows(len(stored["state"]))
    _require_whole(journal, state, complete=bool(stored["complete"]))
    finished, replaced = _finished_rows(named, state, journal), replaced_products(inputs, selection, journal)
    if settings.retry_rejected:
        finished &= (state != REJECTED) & ~rows_of_replaced_products(inputs, selection, replaced)
        if again := read_stalled_units(settings.out):
            add_stalled_units(store, dict.fromkeys(again, ""))
    written = finished & (state == WRITTEN)
    rows_before = StoredRows(stored["product"], finished, written)
    candidates, changed = fixed_candidates(inputs, selection, journal, rows_before, replaced)
    contents = changed_contents(inputs, selection, journal, rows_before, candidates)
    inputs = replace(inputs, candidates=candidates)
    rows = place_patches(inputs, selection)
    # a row that is finished needs no product at which a later run hung
    problems = {row: text for row, text in rows.problems.items() if text not in inputs.guard.refused.values()}
    _require_extractable(settings.out, written, stored["product"], problems)
    rejected_now = [row for row in rows.problems if not finished[row]]
    rows = replace(rows, pending=rows.pending & ~finished)
    begun = ResumeState(journal, rows, np.flatnonzero(written), schema, candidates)
    if not rows.pending.any() and stored["complete"] and not rejected_now:
        begun.complete = True
        return begun
    # before any of them is written: it could then hold pixels of its first candidate, while a later one serves it; and
    # before the products' new digests, which rows of a replaced product do not have
    journal.reopen(np.flatnonzero(named & ~finished))
    journal.change_contents(contents)
    journal.change_candidates(changed)
    store.claim_rows(np.flatnonzero(~finished))
    # incomplete first, on the disk; rows that are not finished can have another product now
    columns = initial_columns(inputs, selection)
    now = {name: np.where(finished, stored[name], columns[name]).astype(stored[name].dtype) for name in _SERVED}
    incomplete = {"complete": np.zeros((), np.uint8), "state": np.where(finished, state, np.uint8(UNWRITTEN))}
    store.overwrite(now | incomplete)
    # on the disk before the journal names them as finished
    _reject_rows(store, schema, rejected_now)
    journal.add(row_ranges(np.array(rejected_now, np.intp)), {row: rows.problems[row] for row in rejected_now})
    return begun


def _require_same_fingerprint(out: Location, journal: Journal, fingerprint: Mapping[str, Any]) -> None:
    """Raise a ValueError if the store was begun with another catalogue, source or settings."""
    keys = [*fingerprint, *(key for key in journal.fingerprint if key not in fingerprint)]
    before_and_now = {key: (journal.fingerprint.get(key), fingerprint.get(key)) for key in keys}
    differing = {key: pair for key, pair in before_and_now.items() if pair[0] != pair[1]}
    if differing:
        changes = "; ".join(f"{key} was {before}, is {now}" for key, (before, now) in differing.items())
        needed = "--resume needs the catalogue, source and settings of the first run"
        raise ValueError(f"{needed}; of {out} these differ: {changes}")


def _require_whole(journal: Journal, state: npt.NDArray[np.uint8], *, complete: bool) -> None:
    """Raise a ValueError if the journal has lost rows or reasons that the store, with this `state` of its rows, shows.

    Rows of an incomplete store may have been written without being journalled yet.
    """
    rows, named = len(state), journal.finished_rows(len(state))
    reasons = np.zeros(rows, bool)
    reasons[journal.rejected.rows] = True
    lost = np.flatnonzero(named & (state == REJECTED) & ~reasons)
    what = "the reason why it is rejected"
    if complete and not len(lost):
        lost = np.flatnonzero(~(named | journal.reopened_rows(rows)))
        what = "that it is finished, as it is in a complete store"
    if len(lost):
        more = f", nor for {len(lost) - 1} other rows" if len(lost) > 1 else ""
        raise ValueError(
            f"{journal.location} is damaged: it does not say for row {lost[0]}{more} {what}; restore the journal, or "
            "start a new store with another --out"
        )


def _finished_rows(
    named: npt.NDArray[np.bool_], state: npt.NDArray[np.uint8], journal: Journal
) -> npt.NDArray[np.bool_]:
    """Those of the rows `named` in the journal that are finished by their state in the store, too: shape (patch,)."""
    finished: npt.NDArray[np.bool_] = named & ((state == WRITTEN) | (state == REJECTED))
    # journalled as rejected, but written since: a later run retried it and was killed before it could journal that
    rejected = journal.rejected.rows
    finished[rejected[state[rejected] == WRITTEN]] = False
    return finished


def _require_extractable(
    out: Location, written: npt.NDArray[np.bool_], read_from: npt.NDArray[np.bytes_], problems: Mapping[int, str]
) -> None:
    """Raise a ValueError if a `written` row could not be extracted again. Arrays: shape (patch,)."""
    row = next((row for row in problems if written[row]), None)
    if row is not None:
        why = f"cannot be extracted again: {problems[row]}"
        raise ValueError(refusal(out, row, read_from[row].decode(), why))


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

    Rows with a wrong checksum become pending again.

    Raises:
        JobError: on every rank, if one cannot read the store.
    """
    sums = Sums(inputs.schema.pixels)
    rows = store_state.scatter(lambda state: _assign_shards(state.written, inputs.store.shard_rows, comm.size))
    damaged = on_every_rank(
        comm, "reading finished rows", lambda: _verify_rows(inputs.store, inputs.schema, rows, sums)
    )
    parts = comm.gather(damaged)
    store_state.apply_on_root(
        lambda state: state.reopen_rows([row for part in parts or [] for row in part], inputs.store)
    )
    return sums


def _assign_shards(rows: npt.NDArray[np.intp], shard_rows: int, ranks: int) -> list[npt.NDArray[np.intp]]:
    """Ascending `rows` divided over ranks, shape (row,) each; all rows of a shard go to one rank."""
    shards, shard = np.unique(rows // shard_rows, return_inverse=True)
    parts = np.array_split(np.arange(len(shards)), ranks)  # empty ones if there are more ranks than shards
    return [rows[(shard >= part[0]) & (shard <= part[-1])] if len(part) else rows[:0] for part in parts]


def _verify_rows(store: Backend, schema: Schema, rows: npt.NDArray[np.intp], sums: Sums) -> list[int]:
    """Those of `rows` (state `WRITTEN`, ascending) with a wrong checksum; statistics of the others go to `sums`."""
    if not len(rows):
        return []
    damaged: list[int] = []
    with store.reader() as reader:
        columns = reader.read_columns(("checksum", "split"))
        for row in rows.tolist():
            now_doing(f"comparing row {row} with its checksum")
            statistics = _row_statistics(reader, row, int(columns["checksum"][row]))
            if statistics is None:
                damaged.append(row)
                continue
            for item, of_array in zip(schema.pixels, statistics, strict=True):
                sums.add(int(columns["split"][row]), item.name, of_array)
    return damaged


def _row_statistics(reader: StoreReader, row: int, expected: int) -> list[npt.NDArray[np.int64]] | None:
    """Statistics of each pixel data set of a row, or None if the row does not match its `expected` checksum."""
    try:
        arrays = reader.row(row)
    except DamagedStoreError:  # a shard that was half-written when a run was killed
        return None
    if checksum(arrays) != expected:
        return None
    return [
        row_sums(pixels, item.nodata, item.saturated) for pixels, item in zip(arrays, reader.schema.pixels, strict=True)
    ]
