"""What became of every cell of a tile: extracted (by split), left out, rejected, or still to be written."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.grid import nominal_origin
from etl.schema import REJECTED, SPLITS, WRITTEN

__all__ = ["FATES", "Place", "TileMap", "fates_of", "paint", "tile_cells"]

FATES = ("not listed", "snow", "cloud or shadow", "not written", "rejected", "no split", *SPLITS[:0:-1])
"""What can become of a cell, from weak to strong: where two patches of a tile share a cell, the stronger is shown."""

_LEAST_CELLS = 10

_BY_SPLIT = np.array([FATES.index("no split"), *(FATES.index(name) for name in SPLITS[1:])], np.uint8)


@dataclass(frozen=True, slots=True)
class Place:
    """The part of a tile that is drawn: a rectangle of cells."""

    first: tuple[int, int]
    """(row j, column i) on the tile of its upper left cell."""

    shape: tuple[int, int]
    """(rows, columns) of cells."""

    @classmethod
    def around(cls, cells: npt.NDArray[np.intp]) -> "Place":
        """The smallest one, of at least 10 x 10 cells, that holds `cells`, shape (patch, 2); -1 counts for none."""
        held = cells[(cells >= 0).all(1)]
        if not len(held):
            return cls((0, 0), (_LEAST_CELLS, _LEAST_CELLS))
        first, last = held.min(0), held.max(0)
        first = np.maximum(np.minimum(first, (first + last + 1 - _LEAST_CELLS) // 2), 0)
        rows, columns = np.maximum(last - first + 1, _LEAST_CELLS).tolist()
        return cls((int(first[0]), int(first[1])), (rows, columns))


@dataclass(frozen=True, slots=True, eq=False)
class TileMap:
    """One tile, cell by cell."""

    tile: str
    """MGRS tile."""

    place: Place
    """The part of it that is drawn."""

    fate: npt.NDArray[np.uint8]
    """Index into `FATES`, shape (row, column)."""

    picture: npt.NDArray[np.uint16]
    """B04 B03 B02 of its extracted patches, shape (row, column, 3), 0 where there is none."""


def tile_cells(tile: str, ulx: npt.NDArray[np.float64], uly: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """(row j, column i) on the tile of patches with these upper left corners in m, shape (patch, 2); -1 if off it."""
    try:
        grid = nominal_origin(tile)
    except ValueError:
        return np.full((len(ulx), 2), -1, np.intp)
    cells = np.stack([(grid.uly - uly) / PATCH_M, (ulx - grid.ulx) / PATCH_M], 1)
    good = ((cells >= 0) & (cells < grid.size_px * 10 // PATCH_M) & (cells == np.floor(cells))).all(1)
    return np.where(good[:, None], cells, -1).astype(np.intp)


def fates_of(state: npt.NDArray[np.uint8], split: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What became of the rows of a store, as indices into `FATES`."""
    fates = np.full(len(state), FATES.index("not written"), np.uint8)
    fates[state == REJECTED] = FATES.index("rejected")
    written = state == WRITTEN
    fates[written] = _BY_SPLIT[np.minimum(split[written], len(SPLITS) - 1)]
    return fates


def paint(place: Place, layers: Sequence[tuple[npt.NDArray[np.intp], npt.NDArray[np.uint8]]]) -> npt.NDArray[np.uint8]:
    """A map of a tile from layers of (cells, fates); in each cell the strongest. Cells -1 are left out."""
    fate = np.zeros(place.shape, np.uint8)
    for cells, fates in layers:
        held = (cells >= 0).all(1)
        j, i = (cells[held] - place.first).T
        np.maximum.at(fate, (j, i), fates[held])
    return fate
