"""Where each patch lies in its tile, and which patches cannot be extracted; on rank 0 alone, for millions of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.extract.inputs import CatalogueSelection, ExtractionInputs, first_candidates
from etl.grid import TileGrid, nominal_origin, patch_cell

if TYPE_CHECKING:
    from etl.catalogue.table import Catalogue

__all__ = ["PatchRows", "place_patches"]


@dataclass(frozen=True, slots=True, eq=False)
class PatchRows:
    """Where each patch lies in its tile, and which are still to be extracted or cannot be; on rank 0 alone."""

    selection: CatalogueSelection

    cells: npt.NDArray[np.intp]
    """(row, column) of each patch in its tile's patch grid, shape (patch, 2)."""

    problems: dict[int, str]
    """Why patches cannot be extracted, by store row, ascending."""

    pending: npt.NDArray[np.bool_]
    """Whether each row is still to be extracted, shape (patch,): all without a problem, or what a resumed run lacks."""


def place_patches(inputs: ExtractionInputs, selection: CatalogueSelection) -> PatchRows:
    """Cell of every patch in its tile's patch grid, or why it cannot be extracted; all others are pending.

    A patch must be in its tile's projection, with its corner, in metres, on the patch grid.
    """
    catalogue, inspections = selection.catalogue, first_candidates(inputs, selection)
    cells, problem = np.zeros((len(catalogue), 2), np.intp), catalogue.problem.copy()
    order = np.argsort(selection.product_index, kind="stable")
    starts = np.searchsorted(selection.product_index[order], np.arange(len(inspections)))
    for inspection, rows in zip(inspections, np.split(order, starts[1:]), strict=True):
        rows = rows[problem[rows] == ""]
        if inspection.problem:
            problem[rows] = inspection.problem
        elif len(rows) and selection.images is None:
            product = inspection.product
            grid = product.grid if product else nominal_origin(catalogue.tile[rows[0]].decode())
            cells[rows], misplaced = _cells(grid, catalogue, rows)
            problem[list(misplaced)] = list(misplaced.values())
    bad = np.flatnonzero(problem != "")
    pending = np.ones(len(cells), bool)
    pending[bad] = False
    return PatchRows(selection, cells, dict(zip(bad.tolist(), problem[bad].tolist(), strict=True)), pending)


def _cells(
    grid: TileGrid, catalogue: "Catalogue", rows: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.intp], dict[int, str]]:
    """(row, column) in the patch grid of each of `rows`, shape (row, 2); and by row why one has none."""
    with np.errstate(invalid="ignore"):  # a corner can be infinite
        right, down = catalogue.ulx[rows] - grid.ulx, grid.uly - catalogue.uly[rows]
        good = (right % PATCH_M == 0) & (down % PATCH_M == 0) & (catalogue.epsg[rows] == grid.epsg)
    good &= (np.minimum(right, down) >= 0) & (np.maximum(right, down) < grid.size_px * 10 // PATCH_M * PATCH_M)
    cells = np.zeros((len(rows), 2), np.intp)
    cells[good] = np.stack([down[good], right[good]], axis=1) // PATCH_M
    problems = dict[int, str]()
    for row in rows[~good].tolist():
        epsg = catalogue.epsg[row]
        try:
            if epsg != grid.epsg:
                raise ValueError(f"patch must lie in its tile's projection EPSG:{grid.epsg}, got EPSG:{epsg}")
            patch_cell(grid, catalogue.ulx[row], catalogue.uly[row])
        except ValueError as error:
            problems[row] = str(error)
    return cells, problems
