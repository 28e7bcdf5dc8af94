"""Find what of a complete store is damaged (--recheck); then it is resumed, as if a run had been interrupted.

Nothing is written here. Rank 0 compares the arrays other than pixels with their digests, the journal and the catalogue;
then each row is read by one of the ranks and compared with its checksum.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from etl.extract.finished_rows import FinishedRows, RowFault, verify_rows
from etl.extract.inputs import CatalogueSelection, ExtractionInputs, initial_columns, log
from etl.extract.report import rejected_list
from etl.extract.resume import changed_arrays
from etl.extract.same_patches import require_same_patches
from etl.extract.stored_state import (
    Damage,
    finished_rows,
    is_complete,
    journalled_state,
    read_journal,
    read_results,
)
from etl.mpi import Comm, RootOnly
from etl.plural import counted
from etl.schema import DIGEST_PARTS, DIGESTS, REJECTED, WRITTEN
from etl.store.checksum import zero_row_checksum
from etl.store.digests import array_digests, from_copy, rows_of_parts, stored_digests, wrong_parts
from etl.store.journal import Journal
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.sidecar import read_file
from etl.store.statistics import Sums, statistics_arrays

__all__ = ["recheck_store", "require_repaired"]

_MOST_ROWS_NAMED = 20


@dataclass(slots=True, eq=False)
class Review:
    """What rank 0 knows of a complete store, first without reading its rows. Arrays: shape (patch,)."""

    store: StoreReader
    selection: CatalogueSelection
    results: dict[str, npt.NDArray[Any]]
    """Results as stored, 0 where they cannot be read."""

    columns: dict[str, npt.NDArray[Any]]
    """Damaged results as they must be, by name: those that are known without extracting a row again."""

    damaged: set[str]
    """Names of the arrays that are damaged, or whose digests are."""

    state: npt.NDArray[np.uint8]
    """State of each row: as the journal has it, or as stored where the journal does not name the row."""

    sound: npt.NDArray[np.bool_]
    """Whether each row need not be extracted again, as far as is known."""

    doubtful: npt.NDArray[np.bool_]
    """Whether the checksum of each row can be what is damaged."""

    list_is_damaged: bool
    """Whether rejected.csv is missing, or is not what the journal says."""

    def rows_to_verify(self) -> FinishedRows:
        """All rows that may be sound; those whose checksums are doubtful are to be counted later."""
        rows = np.flatnonzero(self.sound)
        found = self._finished(rows, self.results["checksum"])
        return replace(found, splits=np.where(self.doubtful[rows], -1, found.splits))

    def _finished(self, rows: npt.NDArray[np.intp], checksums: npt.NDArray[np.uint64]) -> FinishedRows:
        splits = self.selection.catalogue.split[rows].astype(np.intp)
        return FinishedRows(rows, checksums[rows], np.where(self.state[rows] == REJECTED, -1, splits))

    def judge(self, faults: Sequence[RowFault]) -> FinishedRows:
        """Decide whether pixels or checksums are damaged where they do not match; the doubtful rows that are sound.

        Pixels are right if the column of checksums gets its digests with the checksums that they give.
        """
        counted_sums, suspect = self.results["checksum"].copy(), np.zeros(len(self.sound), bool)
        for fault in faults:
            if self.doubtful[fault.row] and fault.found is not None:
                counted_sums[fault.row] = fault.found
                suspect[fault.row] = True
            else:
                self.sound[fault.row] = False
        if self.doubtful.any():
            digests = stored_digests(self.store).get("checksum", np.zeros(DIGEST_PARTS, np.uint64))
            wrong = rows_of_parts(array_digests(counted_sums) != digests, len(self.sound))
            # pixels of a lost shard are 0, and match a checksum that says so
            suspect |= (self.state == WRITTEN) & (counted_sums == np.uint64(zero_row_checksum(self.store.schema)))
            self.sound &= ~(self.doubtful & wrong & suspect)
            self.columns["checksum"] = counted_sums
        return self._finished(np.flatnonzero(self.sound & self.doubtful), counted_sums)

    def damage(self, totals: Sequence[Mapping[str, npt.NDArray[np.object_]]]) -> Damage:
        """What is damaged; `totals`: statistics of the sound rows of each rank, as of `Sums`."""
        sums = Sums(self.store.schema.pixels)
        sums.merge(totals)
        if self.sound.all():
            stored = self.store.read_anew(
                item.name for item in self.store.schema.statistics if item.name not in self.damaged
            )
            counted_sums = statistics_arrays(sums.totals)
            self.damaged |= {name for name, words in stored.items() if not np.array_equal(words, counted_sums[name])}
        return Damage(self._texts(), ~self.sound, self.to_repair, self.columns)

    @property
    def to_repair(self) -> npt.NDArray[np.bool_]:
        """Whether each row is to get the pixels that give its stored checksum."""
        to_repair: npt.NDArray[np.bool_] = ~self.sound & (self.state == WRITTEN) & ~self.doubtful
        return to_repair

    def rows_to_compare(self) -> npt.NDArray[np.intp]:
        """Sound rows with pixels, if the source must give them again because others have no checksum to be compared."""
        needed = (~self.sound & ~self.to_repair).any()
        return np.flatnonzero(self.sound & (self.state == WRITTEN) & needed)

    def _texts(self) -> list[str]:
        texts, rows = [], np.flatnonzero(~self.sound).tolist()
        if rows:
            texts.append(f"{counted(len(rows), 'row')} ({_name_rows(self.selection, dict.fromkeys(rows, ''))})")
        if self.damaged:
            texts.append(f"the arrays {', '.join(sorted(self.damaged))}")
        if self.list_is_damaged:
            texts.append("the list of rejected patches")
        return texts


def _name_rows(selection: CatalogueSelection, rows: Mapping[int, str]) -> str:
    """Number, name and text of each of `rows`, as far as a message can hold them."""
    patch, some = selection.catalogue.patch, list(rows.items())[:_MOST_ROWS_NAMED]
    named = "; ".join(f"row {row} {patch[row].decode(errors='replace')}{text and ': '}{text}" for row, text in some)
    return named + (f"; and {len(rows) - len(some)} more" if len(rows) > len(some) else "")


def require_repaired(out: Location, selection: CatalogueSelection, unrepaired: Mapping[int, str]) -> None:
    """Check that no damaged row is left as it was.

    Raises:
        ValueError: some are `unrepaired`, with the reason by row.
    """
    if unrepaired:
        stay = "damaged row stays as it was" if len(unrepaired) == 1 else "damaged rows stay as they were"
        named = _name_rows(selection, dict(sorted(unrepaired.items())))
        raise ValueError(f"{len(unrepaired)} {stay} in {out}: {named}; repair with the --source of the first run")


def recheck_store(
    inputs: ExtractionInputs, selection: RootOnly[CatalogueSelection], comm: Comm
) -> tuple[Damage | None, Sums]:
    """Collective: what of the store at --out is damaged, on rank 0, and the statistics of sound rows, a part a rank.

    None if there is no complete store: one that is incomplete is verified when it is resumed.

    Raises:
        JobError: on every rank, if it is not a store that can be repaired, or was read from another patch archive.
    """
    sums = Sums(inputs.schema.pixels)
    review = selection.apply_on_root(lambda chosen: _review(inputs, chosen))
    if not review.bcast(lambda found: found is not None):
        return None, sums
    known = cast("RootOnly[Review]", review)
    faults = verify_rows(inputs, known.apply_on_root(Review.rows_to_verify), sums, comm)
    right = known.apply_on_root(lambda found: found.judge(faults.value_on_root or ()))
    verify_rows(inputs, right, sums, comm)  # for their statistics
    totals = comm.gather(sums.totals) or []
    damage = known.apply_on_root(lambda found: found.damage(totals))
    damage.apply_on_root(lambda found: _log_damage(inputs.settings.out, found))
    require_same_patches(inputs, selection, known.apply_on_root(Review.rows_to_compare), comm)
    return damage.value_on_root, sums


def _log_damage(out: Location, damage: Damage) -> None:
    if damage.texts:
        log.warning("%s is damaged: %s", out, "; ".join(damage.texts))


def _review(inputs: ExtractionInputs, selection: CatalogueSelection) -> Review | None:
    """What is known of the store at --out before its rows are read; None if there is none, or it is not complete."""
    out = inputs.settings.out
    if not inputs.store.exists():
        return None
    try:
        store = inputs.store.reader()
    except ValueError as error:
        raise ValueError(f"{error}; it cannot be repaired: extract it again, with another --out") from None
    _refuse_copies(store, out)
    journal = read_journal(inputs, selection)
    inputs.store.claim_columns(initial_columns(inputs, selection))  # before any of them is read
    store.require_arrays(item.name for item in store.schema.digested)
    return _compare_arrays(store, journal, inputs, selection) if is_complete(store) else None


def _refuse_copies(store: StoreReader, out: Location) -> None:
    """Raise a ValueError if etl.convert has made the store."""
    if "converted" not in store.attributes and not store.in_chunks:
        return
    try:
        origin = dict(json.loads(store.attributes.get("converted", "{}")))
    except (ValueError, TypeError):
        origin = {}
    made_from = str(origin.pop("from", "STORE"))
    options = [
        text
        for name, value in origin.items()
        if name != "rows"
        for text in (f"--{name.replace('_', '-')}", *(() if value is True else (str(value),)))
    ]
    line = shlex.join(["python", "-m", "etl.convert", made_from, "--out", str(out), *options])
    raise ValueError(
        f"{out} is a copy in another layout, which --recheck cannot repair: remove it, repair {made_from}, "
        f"and copy that again: {line}"
    )


def _compare_arrays(
    store: StoreReader, journal: Journal, inputs: ExtractionInputs, selection: CatalogueSelection
) -> Review:
    """Compare all arrays of a complete store other than pixels, and the list of rejected rows."""
    schema, (results, _), wrong = store.schema, read_results(store), wrong_parts(store)
    columns, named = dict[str, npt.NDArray[Any]](), journal.finished_rows(schema.rows)
    journalled = journalled_state(journal, named)
    if "state" in wrong:
        columns["state"] = results["state"] = np.where(named, journalled, results["state"])
    sound = finished_rows(journal, named, results["state"])
    for name in wrong.keys() & {item.name for item in schema.results} - {"state", "checksum"}:
        copy = from_copy(store, name) if wrong[name].any() else results[name]
        if copy is None:
            sound &= ~rows_of_parts(wrong[name], schema.rows)
        else:
            columns[name] = copy
    changed = changed_arrays(store, initial_columns(inputs, selection))
    lost_digests = {DIGESTS} if DIGESTS in store and not stored_digests(store) else set[str]()
    listed = read_file(inputs.settings.out.with_suffix(".rejected.csv")) or b""
    expected = rejected_list(journal, selection.catalogue)
    return Review(
        store=store,
        selection=selection,
        results=results,
        columns=columns,
        damaged={*wrong, *changed, *lost_digests},
        state=np.where(named, journalled, results["state"]),
        sound=sound,
        doubtful=rows_of_parts(wrong.get("checksum", np.zeros(DIGEST_PARTS, bool)), schema.rows),
        list_is_damaged=listed.rstrip(b"\r\n") != expected.rstrip(b"\r\n"),  # in a bucket it ends with blank lines
    )
