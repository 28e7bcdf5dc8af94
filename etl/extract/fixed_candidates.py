"""On resuming a store, find the products with which it was begun among those that are on disk now.

Products that came later are ignored: a patch would otherwise depend on when a run was interrupted. If rejected rows are
retried, they are read last.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.extract.candidates import Candidates, names_of
from etl.extract.inputs import CatalogueSelection, ExtractionInputs
from etl.source.content import ProductContent, describe_difference
from etl.store.journal import Journal
from etl.store.location import Location

__all__ = [
    "StoredRows",
    "candidate_contents",
    "changed_contents",
    "fixed_candidates",
    "refusal",
    "replaced_products",
    "rows_of_replaced_products",
]

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

    verified: bool = False
    """Whether the finished rows are known to be undamaged, so that their products need not be there."""


def fixed_candidates(
    inputs: ExtractionInputs,
    selection: CatalogueSelection,
    journal: Journal,
    stored: StoredRows,
    replaced: Mapping[int, str],
) -> tuple[Candidates, dict[str, list[str]]]:
    """Candidates of every listed product as the journal names them, and names that it lacks, by listed product.

    `replaced`: as of `replaced_products`.

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
    hung = {item.name for item in inputs.inspections if item.problem in inputs.guard.refused.values()}
    candidates, new, ignored = [], dict[str, list[str]](), dict[str, None]()
    for number, (listed, found) in enumerate(zip(selection.listed_products, inputs.candidates, strict=True)):
        row, fixed = first_written.get(number), journal.candidates.get(listed, [])
        if row is not None or not retry:
            found = tuple(k for k in found if k not in replaced)
        names = names_of(found, inputs.inspections)
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
        if number in unfinished or (row is not None and not stored.verified):
            gone = [name for name in fixed if name not in names and name not in hung]
            if gone:
                row = unfinished[number] if row is None or stored.verified else row
                was_read = stored.written[row] and stored.product[row].decode() == gone[0]
                why = _why_replaced(inputs, gone[0], replaced) or _why_gone(
                    inputs, listed, gone[0], set(names), set(fixed)
                )
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


def rows_of_replaced_products(
    inputs: ExtractionInputs, selection: CatalogueSelection, replaced: Mapping[int, str]
) -> npt.NDArray[np.bool_]:
    """Whether each patch's acquisition has one of the `replaced` products, shape (patch,); logs each of these."""
    for number, text in replaced.items():
        name = inputs.inspections[number].name
        _log.warning("%s was replaced since the store was begun: %s; its patches are extracted again", name, text)
    listed = [not replaced.keys().isdisjoint(numbers) for numbers in inputs.candidates]
    return np.array(listed, bool)[selection.product_index]


def replaced_products(inputs: ExtractionInputs, selection: CatalogueSelection, journal: Journal) -> dict[int, str]:
    """How products differ from those of the same names with which the store was begun, by number."""
    replaced = dict[int, str]()
    for number, content in enumerate(selection.contents):
        inspection = inputs.inspections[number]
        copies = journal.contents.get(inspection.name, ())
        paths = inspection.product.files if inspection.product else {}
        differences = [describe_difference(copy, content, paths) for copy in copies] if not inspection.problem else []
        if differences and all(differences):
            replaced[number] = differences[0]
    return replaced


def _why_replaced(inputs: ExtractionInputs, name: str, replaced: Mapping[int, str]) -> str:
    """How the product of this name differs from the one with which the store was begun; empty if it does not."""
    text = next((text for number, text in replaced.items() if inputs.inspections[number].name == name), "")
    needed = "restore it, or extract all its patches again with --retry-rejected"
    return f"--source now holds another product under this name: {text}; {needed}" if text else ""


def candidate_contents(
    candidates: Iterable[Iterable[str]], inputs: ExtractionInputs, selection: CatalogueSelection
) -> dict[str, list[ProductContent]]:
    """Files of the products with the names `candidates`, by name, one item for each copy."""
    names = {name for names in candidates for name in names}
    contents = dict[str, list[ProductContent]]()
    for inspection, content in zip(inputs.inspections, selection.contents, strict=False):
        if inspection.name in names and not inspection.problem and content:
            contents.setdefault(inspection.name, []).append(content)
    return contents


def changed_contents(
    inputs: ExtractionInputs, selection: CatalogueSelection, journal: Journal, stored: StoredRows, used: Candidates
) -> dict[str, list[ProductContent]]:
    """Files of the products `used` that the journal does not have as they are now, times included.

    Logs a warning if rows are written, and the journal has none of any product.
    """
    numbers = {number for of_listed in used for number in of_listed}
    contents = dict[str, list[ProductContent]]()
    for number, content in enumerate(selection.contents):
        if number in numbers and content and not inputs.inspections[number].problem:
            contents.setdefault(inputs.inspections[number].name, []).append(content)
    if contents and not journal.contents and stored.written.any():
        _log.warning(
            "the journal of %s has no digests of the products' files, so that products which were replaced since then "
            "go unnoticed; it has them from now on",
            inputs.settings.out,
        )
    return {name: copies for name, copies in contents.items() if journal.contents.get(name) != copies}


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
