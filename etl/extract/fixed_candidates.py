"""On resuming a store, find the products with which it was begun among those that are on disk now.

Products that came later are ignored: a patch would otherwise depend on when a run was interrupted. If rejected rows are
retried, they are read last.
"""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.extract.candidates import Candidates, names_of
from etl.extract.inputs import CatalogueSelection, ExtractionInputs
from etl.store.journal import Journal
from etl.store.location import Location

__all__ = ["StoredRows", "fixed_candidates", "refusal"]

_log = logging.getLogger("etl.extract")


@dataclass(frozen=True, slots=True, eq=False)
class StoredRows:
    """What the store of an interrupted run holds. Arrays: shape (patch,)."""

    product: npt.NDArray[np.bytes_]
    """Product that each row was read from."""

    finished: npt.NDArray[np.bool_]
    """Whether each row need not be extracted again."""

    written: npt.NDArray[np.bool_]
    """Whether each row is finished and has pixels."""


def fixed_candidates(
    inputs: ExtractionInputs, selection: CatalogueSelection, journal: Journal, stored: StoredRows
) -> tuple[Candidates, dict[str, list[str]]]:
    """Candidates of every listed product as the journal names them, and names that it lacks, by listed product.

    An acquisition without any written row takes those of now if it had none, or if rejected rows are retried; with
    written rows it then takes later products behind those named. Otherwise one warning names what is ignored.

    Raises:
        ValueError: a candidate of rows that are written, or still to be extracted, is gone or cannot be read.
    """
    if inputs.is_archive:
        return inputs.candidates, {}
    first_written = _first_rows(selection, stored.written)
    extractable, retry = selection.catalogue.problem == "", inputs.settings.retry_rejected
    unfinished = _first_rows(selection, ~stored.finished & extractable)
    unwritten = _first_rows(selection, ~stored.written & extractable)
    candidates, new, ignored = [], dict[str, list[str]](), dict[str, None]()
    for number, (listed, found) in enumerate(zip(selection.listed_products, inputs.candidates, strict=True)):
        row, names = first_written.get(number), names_of(found, inputs.inspections)
        fixed = journal.candidates.get(listed, [])
        if row is not None and not fixed:
            # a version that read only the newest product began it, so a newer one came later
            read_from = stored.product[row].decode()
            fixed = names[names.index(read_from) :] if read_from in names else [read_from]
        elif row is None and (not fixed or retry):
            fixed = names
        known = fixed if number in unfinished else journal.candidates.get(listed, fixed)
        later = [name for name in names if name not in known]
        if number in unwritten and not retry:
            ignored |= dict.fromkeys(later)
        if row is not None or number in unfinished:
            gone = [name for name in fixed if name not in names]
            if gone:
                row = unfinished[number] if row is None else row
                was_read = stored.written[row] and stored.product[row].decode() == gone[0]
                why = _why_gone(inputs, listed, gone[0], set(names), set(fixed))
                raise ValueError(refusal(inputs.settings.out, row, gone[0], why, was_read))
            if retry and number in unfinished:
                fixed = [*fixed, *later]
            if journal.candidates.get(listed) != fixed:
                new[listed] = fixed
        usable = tuple(k for name in fixed for k in found if inputs.inspections[k].name == name)
        candidates.append(usable or found[:1])
    if ignored:
        _log.warning(
            "the store was begun without these products, so they are ignored: %s; with --retry-rejected patches that "
            "are open or rejected are read from them, too",
            _shortened(list(ignored)),
        )
    return tuple(candidates), new


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _first_rows(selection: CatalogueSelection, mask: npt.NDArray[np.bool_]) -> dict[int, int]:
    """First row in `mask`, shape (patch,), of each listed product that has one, by its number."""
    rows = np.flatnonzero(mask)
    numbers, first = np.unique(selection.product_index[rows], return_index=True)
    return dict(zip(numbers.tolist(), rows[first].tolist(), strict=True))


def _why_gone(inputs: ExtractionInputs, listed: str, name: str, names: set[str], fixed: set[str]) -> str:
    """Why the candidate `name` cannot serve; `names`: products that can, `fixed`: those the store was begun with."""
    problem = next((item.problem for item in inputs.inspections if item.name == name and item.problem), "")
    if names and not problem:
        return "--source no longer has this product" if names <= fixed else "--source now has another product for it"
    return f"cannot be extracted again: {problem or f'no Level-2A product on disk serves {listed}'}"


def refusal(out: Location, row: int, product: str, why: str, was_read: bool = True) -> str:
    """Message that a store cannot be resumed because of the product that one of its rows was or is to be read from."""
    done = "was extracted from" if was_read else "is to be read from"
    return f"row {row} of {out} {done} {product}, but {why}; resume with the --source of the first run"
