"""Candidates: the products on disk that show one acquisition, and which of them a patch is read from.

Two products of an acquisition can be versions, or parts of one pass, each without data where the other has some. So a
patch is read from the first candidate that has all of its pixels; where none has, from the one that lacks the fewest.
Candidates are fixed when a store is created, and kept in its journal.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from etl.catalogue.names import parse_product
from etl.grid import TileGrid, nominal_origin
from etl.source.inspection import ProductInspection
from etl.source.patch import PixelShares

__all__ = [
    "Candidates",
    "OpenRow",
    "PassedOver",
    "keep_usable",
    "lacking",
    "log_candidates",
    "names_of",
    "next_candidates",
    "served_by",
]

_log = logging.getLogger("etl.extract")

Candidates = tuple[tuple[int, ...], ...]
"""By listed product: numbers of the products that can serve it, best first; empty if there is none."""

PassedOver = Sequence[Mapping[int, str]]
"""By listed product: why products of its acquisition cannot serve it although others can, by their numbers."""


class OpenRow(NamedTuple):
    """Best result so far for a row that is also to be read from a further candidate."""

    problem: str
    """Why the patch is rejected; empty if it is kept."""

    lacking: float
    """As of `lacking`; a further candidate replaces the result if it has less of this."""

    served: int
    """Number of the candidate that gave it."""

    following: int
    """Number of the candidate to read next."""

    missing: str = "pixels"
    """What the next candidate is read for, as of `lacking`."""


def keep_usable(
    found: Sequence[int], inspections: Sequence[ProductInspection]
) -> tuple[tuple[int, ...], dict[int, str]]:
    """Of the products `found` of an acquisition those that can serve it; and why each of the others cannot.

    They can be read, and all have one grid: the nominal one of their tile, if any has it, and the largest. Where none
    can serve, the first is kept, whose problem then rejects the patches.
    """
    passed_over = {number: inspections[number].problem for number in found if inspections[number].problem}
    readable = {number: inspections[number].product for number in found if number not in passed_over}
    grids = {number: product.grid for number, product in readable.items() if product}
    nominal = [number for number, grid in grids.items() if _is_nominal(grid, inspections[number].name)]
    grid = max((grids[number] for number in nominal or grids), key=lambda grid: grid.size_px, default=None)
    for number, other in grids.items():
        if grid is not None and other != grid:
            passed_over[number] = f"its grid must be {_described(grid)}, got {_described(other)}"
    usable = tuple(number for number in found if number not in passed_over)
    return (usable, passed_over) if usable else (tuple(found[:1]), {})


def _is_nominal(grid: TileGrid, name: str) -> bool:
    try:
        nominal = nominal_origin(parse_product(name).tile)
    except ValueError:
        return False
    return (grid.epsg, grid.ulx, grid.uly) == (nominal.epsg, nominal.ulx, nominal.uly)


def _described(grid: TileGrid) -> str:
    return f"{grid.size_px} px from {grid.ulx:.10g}, {grid.uly:.10g} (EPSG:{grid.epsg})"


def log_candidates(candidates: Candidates, passed_over: PassedOver, inspections: Sequence[ProductInspection]) -> None:
    """Log which products are passed over, each once, and how many acquisitions come in several products."""
    reasons = {
        number: (reason, numbers[0])
        for numbers, over in zip(candidates, passed_over, strict=True)
        for number, reason in over.items()
    }
    for number, (reason, instead) in sorted(reasons.items()):
        shown, other = inspections[number].shown, inspections[instead].shown
        _log.warning("%s is passed over: %s; %s serves instead", shown, reason, other)
    several = {numbers for numbers in candidates if len(numbers) > 1}
    if several:
        example = ", ".join(inspections[number].shown for number in min(several))
        come = "acquisition comes" if len(several) == 1 else "acquisitions come"
        _log.info(
            "%d %s in several products (for example %s): each patch is read from the first that has all its pixels",
            len(several), come, example,
        )  # fmt: skip


def names_of(numbers: Sequence[int], inspections: Sequence[ProductInspection]) -> list[str]:
    """Names of the usable products among `numbers`, best first, each once."""
    return list(dict.fromkeys(inspections[number].name for number in numbers if not inspections[number].problem))


def next_candidates(names: Sequence[str], number: int) -> tuple[int, int]:
    """The candidate to read after the `number`-th where that one lacks pixels, and where it is broken; 0: none.

    A copy of the same product, a folder beside its zip file, lacks the same pixels.
    """
    following = range(number + 1, len(names))
    return next((k for k in following if names[k] != names[number]), 0), next(iter(following), 0)


def lacking(shares: PixelShares, empty: bool, needs_classes: bool) -> tuple[float, str]:
    """How much a patch of a candidate lacks, and what: "pixels", "scene classes", or "" if it could not be read.

    Share of the pixels that lack data, 0 to 1; infinite if the patch could not be read, is `empty` (no pixel has data
    in any band), or no pixel has a scene class though they `needs_classes` (some limit depends on them).
    """
    if np.isnan(shares.nodata):
        return np.inf, ""
    if needs_classes and shares.unclassified and shares.nodata < 1:
        return np.inf, "scene classes"
    return np.inf if empty or (needs_classes and shares.unclassified) else shares.nodata, "pixels"


def served_by(inspection: ProductInspection) -> tuple[bytes, bytes]:
    """Name and processing baseline of a product, as a store has them for the rows that it serves."""
    baseline = inspection.product.baseline if inspection.product else ""
    return inspection.name.encode(errors="backslashreplace"), baseline.encode()
