"""What the store and the journal of an earlier run hold, and which rows need not be extracted again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.extract.fixed_candidates import replaced_products, rows_of_replaced_products
from etl.extract.inputs import CatalogueSelection, ExtractionInputs, fingerprint_of, initial_columns
from etl.schema import COMPLETE, REJECTED, UNWRITTEN, WRITTEN, Schema
from etl.store.digests import read_arrays
from etl.store.journal import Journal, journal_location
from etl.store.location import Location
from etl.store.reader import StoreReader

__all__ = [
    "Damage",
    "StoredState",
    "finished_rows",
    "is_complete",
    "journalled_state",
    "read_journal",
    "read_results",
    "read_stored_state",
]


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """What was found to be damaged in a complete store. Arrays: shape (patch,)."""

    texts: list[str]
    """What is damaged, in words; empty if nothing is."""

    rows: npt.NDArray[np.bool_]
    """Whether each row is to be extracted again."""

    repair: npt.NDArray[np.bool_]
    """Those of `rows` that are to get the pixels that they had, whose checksums the store holds."""

    columns: dict[str, npt.NDArray[Any]]
    """Results as they must be, of all rows, by name: those that are known without extracting a row again."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredState:
    """What a store and its journal hold; rank 0 alone has it. Arrays: shape (patch,)."""

    journal: Journal
    schema: Schema
    complete: bool
    """Whether the store says that it is complete."""

    results: dict[str, npt.NDArray[Any]]
    """`Schema.results` by name; 0 where one cannot be read."""

    rewrite: set[str]
    """Names of the results that are to be written again: those that could not be read, or are known to be damaged."""

    named: npt.NDArray[np.bool_]
    """Whether the journal names each row as finished."""

    finished: npt.NDArray[np.bool_]
    """Those of `named` that need not be extracted again, as far as is known."""

    had_pixels: npt.NDArray[np.bool_]
    """Whether each row is finished and in state `WRITTEN`, or is one of `repair`."""

    repair: npt.NDArray[np.bool_]
    """Rows that are to be extracted again, to the pixels that they had."""

    replaced: dict[int, str]
    """As of `replaced_products`."""


def read_journal(inputs: ExtractionInputs, selection: CatalogueSelection, repair: bool = False) -> Journal:
    """The journal of the store at --out; `repair` as of `Journal.read`.

    Raises:
        ValueError: it is missing or damaged, or the store was begun with another catalogue, source or settings.
    """
    out = inputs.settings.out
    journal = Journal.read(journal_location(out), repair, inputs.store.write_beside)
    _require_same_fingerprint(out, journal, fingerprint_of(inputs.settings, selection, inputs.method))
    return journal


def _require_same_fingerprint(out: Location, journal: Journal, fingerprint: Mapping[str, Any]) -> None:
    keys = [*fingerprint, *(key for key in journal.fingerprint if key not in fingerprint)]
    before_and_now = {key: (journal.fingerprint.get(key), fingerprint.get(key)) for key in keys}
    differing = {key: pair for key, pair in before_and_now.items() if pair[0] != pair[1]}
    if differing:
        changes = "; ".join(f"{key} was {before}, is {now}" for key, (before, now) in differing.items())
        needed = "--resume needs the catalogue, source and settings of the first run"
        raise ValueError(f"{needed}; of {out} these differ: {changes}")


def is_complete(store: StoreReader) -> bool:
    """Whether a store says that it is complete; it does not if that cannot be read."""
    try:
        return COMPLETE.name in store and int(store.read_anew((COMPLETE.name,))[COMPLETE.name]) == 1
    except ValueError:
        return False


def read_results(store: StoreReader) -> tuple[dict[str, npt.NDArray[Any]], set[str]]:
    """The results of all rows by name, shape (patch,), 0 where one cannot be read; and the names of those.

    Raises:
        ValueError: the store lacks one.
    """
    store.require_arrays(item.name for item in store.schema.results)
    read = dict(read_arrays(store, store.schema.results))
    lost = {name for name, values in read.items() if values is None}
    zeros = {item.name: np.zeros(item.shape, item.dtype) for item in store.schema.results if item.name in lost}
    return {name: zeros[name] if values is None else values for name, values in read.items()}, lost


def read_stored_state(
    inputs: ExtractionInputs, selection: CatalogueSelection, damage: Damage | None = None
) -> StoredState:
    """State of the store at --out; `damage`: what was found in it, if it is complete and was verified.

    Raises:
        ValueError: it is not a store, was begun with another catalogue, source or settings, or its journal is damaged;
            or it is complete, was not verified, and cannot be read.
    """
    journal = read_journal(inputs, selection, repair=True)  # its last line may be incomplete after a kill
    if damage is None:  # else they were claimed before they were compared
        inputs.store.claim_columns(initial_columns(inputs, selection))
    with inputs.store.reader() as reader:
        schema, complete, (results, lost) = reader.schema, is_complete(reader), read_results(reader)
    results |= damage.columns if damage else {}
    named = journal.finished_rows(schema.rows)
    if lost and complete and damage is None and named.all():  # else a repair was killed before it changed the store
        what = f"{inputs.settings.out} is complete, but damaged: {', '.join(sorted(lost))}"
        raise ValueError(f"{what} cannot be read; --resume --recheck repairs it")
    if "state" in lost and not damage:
        results["state"] = journalled_state(journal, named)
    # rows that the journal of a complete store has lost are among the damaged ones, once it was verified
    _require_whole(journal, results["state"], complete=complete and damage is None)
    finished, repair = finished_rows(journal, named, results["state"]), np.zeros(schema.rows, bool)
    if damage:
        finished, repair = finished & ~damage.rows, damage.repair.copy()
    elif lost:
        finished &= "state" not in lost or results["state"] == WRITTEN  # a rejected row can have been retried since
        finished &= lost <= {"state", "checksum"}  # which of its values are lost cannot be known
    repair[journal.repairs] = True
    replaced = replaced_products(inputs, selection, journal)
    if inputs.settings.retry_rejected:
        again = rows_of_replaced_products(inputs, selection, replaced)
        finished, repair = finished & (results["state"] != REJECTED) & ~again, repair & ~again
    had_pixels = (finished & (results["state"] == WRITTEN)) | repair
    rewrite = lost.union(damage.columns if damage else ())
    return StoredState(journal, schema, complete, results, rewrite, named, finished, had_pixels, repair, replaced)


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


def journalled_state(journal: Journal, named: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """State of each row as the journal has it, which names the rows `named`; both shape (patch,)."""
    state = np.where(named, np.uint8(WRITTEN), np.uint8(UNWRITTEN))
    state[journal.rejected.rows] = REJECTED
    return state


def finished_rows(
    journal: Journal, named: npt.NDArray[np.bool_], state: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Those of the rows `named` in the journal whose `state` in the store is the same: shape (patch,).

    A row that is journalled as rejected, but is written, was retried by a run that was killed before it journalled it.
    """
    finished: npt.NDArray[np.bool_] = named & (state == journalled_state(journal, named))
    return finished
