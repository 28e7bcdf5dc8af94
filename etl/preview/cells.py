"""Status of every cell of a tile: extracted (by split), left out, rejected, or still to be written."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.grid import nominal_origin
from etl.schema import REJECTED, SPLITS, WRITTEN

__all__ = ["CELL_STATUS", "CellWindow", "TileMap", "cell_status_of", "merge_cell_status", "tile_cells"]

CELL_STATUS = ("not listed", "snow", "cloud or shadow", "not written", "rejected", "no split", *SPLITS[:0:-1])
"""Status of a cell, from weak to strong: if two patches of a tile share a cell, the stronger is shown."""

_MIN_CELLS = 10


@dataclass(frozen=True, slots=True)
class CellWindow:
    """The part of a tile that is drawn: a rectangle of cells, each of 1200 x 1200 m."""

    first: tuple[int, int]
    """(row, column) on the tile of its upper left cell."""

    shape: tuple[int, int]
    """(rows, columns) of cells."""

    @classmethod
    def around(cls, cells: npt.NDArray[np.intp]) -> "CellWindow":
        """Return the smallest one, of at least 10 x 10 cells, that holds `cells`, shape (patch, 2); -1 is ignored."""
        inside = cells[(cells >= 0).all(1)]
        if not len(inside):
            return cls((0, 0), (_MIN_CELLS, _MIN_CELLS))
        first, last = inside.min(0), inside.max(0)
        # centred on a small group of cells, but never beyond the tile's upper or left border
        first = np.maximum(np.minimum(first, (first + last + 1 - _MIN_CELLS) // 2), 0)
        rows, columns = np.maximum(last - first + 1, _MIN_CELLS).tolist()
        return cls((int(first[0]), int(first[1])), (rows, columns))


@dataclass(frozen=True, slots=True, eq=False)
class TileMap:
    """One tile, cell by cell."""

    tile: str
    """MGRS tile."""

    window: CellWindow
    """The part of it that is drawn."""

    status: npt.NDArray[np.uint8]
    """Index into `CELL_STATUS`, shape (row, column)."""

    true_colour: npt.NDArray[np.uint16]
    """B04 B03 B02 of its extracted patches, shape (row, column, 3), 0 without a patch."""

    nodata_share: npt.NDArray[np.float32]
    """Largest share of pixels without data among a cell's extracted patches, shape (row, column), 0 without any."""


def tile_cells(tile: str, ulx: npt.NDArray[np.float64], uly: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Return (row, column) on the tile, shape (patch, 2), of patches with these upper left corners in metres.

    -1 if a corner is not a corner of the tile's cells.
    """
    try:
        grid = nominal_origin(tile)
    except ValueError:
        return np.full((len(ulx), 2), -1, np.intp)
    cells = np.stack([(grid.uly - uly) / PATCH_M, (ulx - grid.ulx) / PATCH_M], 1)
    good = ((cells >= 0) & (cells < grid.size_px * 10 // PATCH_M) & (cells == np.floor(cells))).all(1)
    return np.where(good[:, None], cells, -1).astype(np.intp)


def cell_status_of(state: npt.NDArray[np.uint8], split: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return the status of rows of a store, as indices into `CELL_STATUS`, shape (patch,)."""
    index = CELL_STATUS.index
    by_split = np.array([index("no split"), *map(index, SPLITS[1:])])[np.minimum(split, len(SPLITS) - 1)]
    rejected = np.where(state == REJECTED, index("rejected"), index("not written"))
    return np.where(state == WRITTEN, by_split, rejected).astype(np.uint8)


def merge_cell_status(
    window: CellWindow, layers: Sequence[tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]]
) -> npt.NDArray[np.uint8]:
    """Return the strongest status in each cell of the window, uint8, its shape that of the window.

    `layers`: pairs of cells, shape (patch, 2), and status, shape (patch,). Cells -1 are left out.
    """
    merged = np.zeros(window.shape, np.uint8)
    for cells, status in layers:
        inside = (cells >= 0).all(1)
        row, column = (cells[inside] - window.first).T
        # unbuffered, since several patches can share a cell
        np.maximum.at(merged, (row, column), status[inside])
    return merged
