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
from etl.extract.finished_rows import NO_ROWS, FinishedRows, verify_rows
from etl.extract.fixed_candidates import (
    StoredRows,
    candidate_contents,
    changed_contents,
    fixed_candidates,
    refusal,
)
from etl.extract.inputs import (
    CatalogueSelection,
    ExtractionInputs,
    fingerprint_of,
    initial_columns,
)
from etl.extract.patch_rows import PatchRows, place_patches
from etl.extract.provenance import store_attributes
from etl.extract.stored_state import Damage, StoredState, read_stored_state
from etl.mpi import Comm, RootOnly
from etl.schema import COMPLETE, REJECTED, UNWRITTEN, WRITTEN, Schema, encoded
from etl.store.checksum import zero_row_checksum
from etl.store.digests import has_right_copy, read_arrays
from etl.store.interface import Backend
from etl.store.journal import Journal, journal_location, row_ranges
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.stalled_units import add_stalled_units, read_stalled_units
from etl.store.statistics import Sums

__all__ = ["ResumeState", "begin_store", "changed_arrays", "verify_finished_rows"]

_SERVED = ("product", "baseline")
"""Columns that tell which product a row was read from."""


@dataclass(slots=True, eq=False)
class ResumeState:
    """State of a store when extraction starts, whether new or resumed; rank 0 alone has it."""

    journal: Journal
    rows: PatchRows
    """Patches of all rows, and which are pending."""
    unverified: FinishedRows
    """Finished rows in state `WRITTEN` whose checksums are still to be verified."""
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

    @property
    def kept(self) -> npt.NDArray[np.intp]:
        """Those of the rows to be verified that are not pending, shape (row,)."""
        rows = self.unverified.rows
        return rows[~self.rows.pending[rows]]

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


def begin_store(inputs: ExtractionInputs, selection: CatalogueSelection, damage: Damage | None = None) -> ResumeState:
    """Create the store, or resume it if --resume is given and there is one; on rank 0.

    `damage`: what was found in it, if it is complete and was verified; it is then extracted again.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is not a store.
        OSError: it cannot be written.
    """
    if not (inputs.settings.resume and inputs.store.exists()):
        return _create_store(inputs, selection)
    return resume_store(inputs, selection, read_stored_state(inputs, selection, damage), damage)


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
    attributes = store_attributes(settings, inputs.schema, inputs.method, selection.catalogue)
    inputs.store.create(inputs.schema, columns, attributes)
    journal.add(row_ranges(rejected), rows.problems)
    return ResumeState(journal, rows, NO_ROWS, inputs.schema, inputs.candidates)


def resume_store(
    inputs: ExtractionInputs, selection: CatalogueSelection, found: StoredState, damage: Damage | None
) -> ResumeState:
    """State of the store of an earlier run; marks it as incomplete, and rejects rows that cannot be extracted now.

    Raises:
        ValueError: products that are needed are gone, or cannot be read.
        OSError: it cannot be written.
    """
    out, finished = inputs.settings.out, found.finished
    if inputs.settings.retry_rejected and (again := read_stalled_units(out)):
        add_stalled_units(inputs.store, dict.fromkeys(again, ""))
    rows_before = StoredRows(found.results["product"], finished, found.had_pixels, damage is not None)
    candidates, changed = fixed_candidates(inputs, selection, found.journal, rows_before, found.replaced)
    # a row is repaired by its checksum, so that nothing tells whether the products of all others are those of then
    known = damage is not None or found.repair.any()
    contents = {} if known else changed_contents(inputs, selection, found.journal, rows_before, candidates)
    inputs = replace(inputs, candidates=candidates)
    rows = place_patches(inputs, selection)
    # a row that is finished needs no product at which a later run hung, and an undamaged one none at all
    refused = inputs.guard.refused.values()
    problems = {row: text for row, text in rows.problems.items() if not (finished[row] and (damage or text in refused))}
    _require_extractable(out, found.had_pixels, found.results["product"], problems)
    rejected_now = [row for row in rows.problems if not finished[row]]
    rows = replace(rows, pending=rows.pending & ~finished)
    unverified = NO_ROWS if damage else _written_rows(selection, found)
    begun = ResumeState(found.journal, rows, unverified, found.schema, candidates)
    nothing_to_do = not damage.texts if damage else not (rows.pending.any() or rejected_now)
    if found.complete and nothing_to_do:
        begun.complete = True
        return begun
    _reopen_rows(found)
    found.journal.change_contents(contents)
    found.journal.change_candidates(changed)
    _mark_incomplete(inputs, selection, found)
    # on the disk before the journal names them as finished
    _reject_rows(inputs.store, found.schema, rejected_now)
    reasons = {row: rows.problems[row] for row in rejected_now}
    found.journal.add(row_ranges(np.array(rejected_now, np.intp)), reasons)
    return begun


def _written_rows(selection: CatalogueSelection, found: StoredState) -> FinishedRows:
    """Finished rows with pixels, to be verified."""
    rows = np.flatnonzero(found.finished & (found.results["state"] == WRITTEN))
    return FinishedRows(rows, found.results["checksum"][rows], selection.catalogue.split[rows].astype(np.intp))


def _reopen_rows(found: StoredState) -> None:
    """Journal the rows that are not finished as pending.

    This comes before any of them is written: it could then hold pixels of its first candidate, while a later one serves
    it; and before the products' new digests, which rows of a replaced product do not have.
    """
    journal, rows = found.journal, len(found.finished)
    before = np.zeros(rows, bool)
    before[journal.repairs] = True
    journal.reopen(np.flatnonzero((found.named | before) & ~found.finished & ~found.repair))
    journal.reopen(np.flatnonzero(found.repair & ~before), repair=True)


def _mark_incomplete(inputs: ExtractionInputs, selection: CatalogueSelection, found: StoredState) -> None:
    """Mark the store as incomplete, then the rows that are not finished as pending in it, too.

    Arrays that can be known without pixels are written again where they are not as they must be.
    """
    store, results = inputs.store, found.results
    store.claim_rows(np.flatnonzero(~found.finished))
    # on the disk before any other byte of the store changes
    store.overwrite({COMPLETE.name: np.zeros((), np.uint8)})
    known = initial_columns(inputs, selection)
    with store.reader() as reader:
        arrays = changed_arrays(reader, known)
    # rows that are not finished can have another product now
    keep = found.finished | found.repair
    arrays |= {name: results[name] for name in found.rewrite}
    arrays |= {name: np.where(keep, results[name], known[name]).astype(results[name].dtype) for name in _SERVED}
    arrays.pop("state", None)
    state = np.where(found.finished, results["state"], np.uint8(UNWRITTEN))
    store.overwrite({**arrays, "state": np.where(found.repair, np.uint8(WRITTEN), state)})


def changed_arrays(store: StoreReader, known: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Identity columns and coordinate variables that are not as they must be, as they must be, by name.

    `known`: the columns that are known before any pixel is read, by name, shape (patch, ...).
    """
    schema = store.schema
    coordinates = (*schema.coordinates, *schema.statistics_coordinates, *schema.digest_coordinates)
    right = {item.name: encoded(values, item.dtype) for item, values in coordinates}
    right |= {item.name: known[item.name].astype(item.dtype) for item in schema.identity}
    items = [item for item in (*schema.identity, *(item for item, _ in coordinates)) if item.name in store]
    return {
        name: right[name]
        for name, values in read_arrays(store, items)
        if values is None or values.tobytes() != right[name].tobytes() or not has_right_copy(store, name, values)
    }


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


def verify_finished_rows(inputs: ExtractionInputs, store_state: RootOnly[ResumeState], sums: Sums, comm: Comm) -> None:
    """Collective: verify the checksums of finished rows, each rank a part; statistics of valid rows go to `sums`.

    Rows with a wrong checksum become pending again.

    Raises:
        JobError: on every rank, if one cannot read the store.
    """
    faults = verify_rows(inputs, store_state.apply_on_root(lambda state: state.unverified), sums, comm)
    damaged = [fault.row for fault in faults.value_on_root or ()]
    store_state.apply_on_root(lambda state: state.reopen_rows(damaged, inputs.store))
