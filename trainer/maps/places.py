"""Where the patches of a store are: corners and projections, and the regular grid of cells of each tile."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.pixel_groups import GSD_M
from trainer.data.selection import SelectedRows

__all__ = ["CellGrid", "Places", "cell_grids", "missing_places", "places_of"]

_ARRAYS = ("tile", "epsg", "ulx", "uly")

_MOST_SIDE_M = 1_000_000
"""Longest side of one grid: a tile has 109,800 m, and a single wrong corner must not fill the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Place of each selected row; a patch is the square (ulx, uly - 1200) to (ulx + 1200, uly)."""

    tile: npt.NDArray[np.str_]
    """(row,): MGRS tile."""

    acquired: npt.NDArray[np.int64]
    """(row,): time of acquisition, seconds since 1970 in UTC; 0 if the store has none."""

    epsg: npt.NDArray[np.int64]
    """(row,): EPSG code of the projection."""

    ulx: npt.NDArray[np.float64]
    """(row,): easting of the upper left corner in m."""

    uly: npt.NDArray[np.float64]
    """(row,): northing of the upper left corner in m."""


def missing_places(rows: SelectedRows) -> str:
    """Why the places of these rows are not known, in words; empty if they are."""
    store = rows.reader
    missing = [name for name in _ARRAYS if name not in store]
    if missing:
        return f"{store.location} has no array {', '.join(missing)}"
    for item in rows.pixels:
        sides = [pixels * (GSD_M.get(item.name) or 0) for pixels in item.row_shape[:2]]
        if sides != [PATCH_M, PATCH_M]:
            return f"patches of {item.name} in {store.location} are not known to be squares of {PATCH_M} m"
    epsg, ulx, uly = (store.column(name)[rows.store_rows] for name in ("epsg", "ulx", "uly"))
    is_utm = np.isin(epsg // 100, (326, 327)) & (epsg % 100 >= 1) & (epsg % 100 <= 60)
    nowhere = int((~(is_utm & np.isfinite(ulx) & np.isfinite(uly))).sum())
    return f"{nowhere} of {len(rows)} rows of {store.location} have no corner in a UTM projection" if nowhere else ""


def places_of(rows: SelectedRows) -> Places:
    """Places of these rows, in their order.

    Raises:
        ValueError: they are not known, see `missing_places`.
    """
    if problem := missing_places(rows):
        raise ValueError(f"a map needs the place of each patch, but {problem}; predict to a table, --out NAME.parquet")
    store, at = rows.reader, rows.store_rows
    tile = np.strings.decode(store.column("tile")[at], "utf-8", "replace")
    acquired = store.column("acquired")[at] if "acquired" in store else np.zeros(len(rows), np.int64)
    epsg, ulx, uly = (store.column(name)[at] for name in ("epsg", "ulx", "uly"))
    return Places(tile, acquired, epsg.astype(np.int64), ulx, uly)


@dataclass(frozen=True, slots=True, eq=False)
class CellGrid:
    """The cells of one image: of one tile, or, if the tile was seen at several times, of one of them."""

    name: str
    """Tile, followed by the time of acquisition if the tile has several: 33UUP or 33UUP.20170613T101031."""

    epsg: int
    """EPSG code of the projection."""

    ulx: float
    """Easting of the upper left corner of the image in m."""

    uly: float
    """Northing of the upper left corner of the image in m."""

    cell_m: int
    """Side of a cell in m."""

    index: npt.NDArray[np.int64]
    """(row, col): index of the cell's prediction, -1 for none."""


def cell_grids(places: Places) -> list[CellGrid]:
    """The grids of all tiles, one cell a patch, in order of name; indices are into `places`.

    Raises:
        ValueError: the name of a tile cannot be part of a file's, or its patches do not lie on one grid.
    """
    pairs = list(zip(places.tile.tolist(), places.acquired.tolist(), strict=True))
    seen = sorted(set(pairs))
    number_of = {pair: number for number, pair in enumerate(seen)}
    group, tiles = np.array([number_of[pair] for pair in pairs]), [tile for tile, _ in seen]
    grids = []
    for number, (tile, acquired) in enumerate(seen):
        if not (tile.isascii() and tile.isalnum()):
            raise ValueError(f"tiles must have names of letters and digits, such as 33UUP, got {tile!r}")
        time = np.datetime64(acquired, "s").item()
        name = tile if tiles.count(tile) == 1 else f"{tile}.{time:%Y%m%dT%H%M%S}"
        grids.append(_cell_grid(name, places, np.flatnonzero(group == number)))
    return grids


def _cell_grid(name: str, places: Places, members: npt.NDArray[np.intp]) -> CellGrid:
    """The grid of the rows `members`."""
    epsg, ulx, uly = (getattr(places, item)[members] for item in ("epsg", "ulx", "uly"))
    west, north = float(ulx.min()), float(uly.max())
    cells = np.stack([north - uly, ulx - west], 1) / PATCH_M
    if len(set(epsg.tolist())) > 1 or (cells % 1).any():
        raise ValueError(f"patches of {name} must lie on one grid of {PATCH_M} m in one projection, and do not")
    if cells.max() * PATCH_M > _MOST_SIDE_M:
        raise ValueError(
            f"patches of {name} must lie within {_MOST_SIDE_M} m, got corners {cells.max() * PATCH_M:.10g} m apart"
        )
    at: tuple[Any, ...] = tuple(cells.astype(np.int64).T)
    index = np.full([axis.max() + 1 for axis in at], -1, np.int64)
    index[at] = members
    if (index >= 0).sum() < len(members):
        raise ValueError(f"each patch of {name} must have a place of its own, but several lie at the same place")
    return CellGrid(name, int(epsg[0]), west, north, PATCH_M, index)
