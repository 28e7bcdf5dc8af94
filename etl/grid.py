"""The grid of a Sentinel-2 tile: its nominal origin by MGRS name, the patch cells on it, and windows of pixels.

Coordinates are metres in the tile's UTM zone; cells are always (row, column).
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["PixelWindow", "TileGrid", "nominal_origin", "patch_cell"]

_TILE = re.compile(r"T?(?P<zone>[0-9]{2})(?P<band>[C-HJ-NP-X])(?P<col>[A-HJ-NP-Z])(?P<row>[A-HJ-NP-V])")
_LATITUDE_BANDS = "CDEFGHJKLMNPQRSTUVWX"
# MGRS leaves out I and O; column letters repeat every three zones, row letters every 20 squares of 100 km.
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_FALSE_NORTHING_M = 10_000_000


class PixelWindow(NamedTuple):
    """Rectangle of pixels in a raster: first row and column, number of rows and columns."""

    row: int
    col: int
    height: int
    width: int

    def intersection(self, other: "PixelWindow") -> "PixelWindow":
        """The pixels that both windows hold; the windows must overlap."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        bottom = min(self.row + self.height, other.row + other.height)
        right = min(self.col + self.width, other.col + other.width)
        return PixelWindow(row, col, bottom - row, right - col)

    def slices_in(self, outer: "PixelWindow") -> tuple[slice, slice]:
        """Row and column slices of these pixels in an array that holds the pixels of `outer`."""
        row, col = self.row - outer.row, self.col - outer.col
        return slice(row, row + self.height), slice(col, col + self.width)


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Georeference of a square tile."""

    epsg: int
    """EPSG code of its UTM projection, 326zz north and 327zz south."""

    ulx: float
    """Easting of the upper left corner in m."""

    uly: float
    """Northing of the upper left corner in m."""

    size_px: int = 10980
    """Side on the 10 m grid; 10980 for a Sentinel-2 L2A tile."""

    def __post_init__(self) -> None:
        if self.size_px <= 0 or self.size_px % 6:
            raise ValueError(f"size_px must be a positive multiple of 6 (60 m pixels), got {self.size_px}")


def nominal_origin(tile: str) -> TileGrid:
    """Georeference of the Sentinel-2 tile with this MGRS name, e.g. 33UUP or T33UUP: EPSG code, corner in metres.

    The tile's corner is its 100 km square's upper left corner, moved outwards to the 60 m grid that starts at the
    equator and at easting 0. Source: ESA, Sentinel-2 tiling grid; NGA.STND.0037 (MGRS lettering).

    Raises:
        ValueError: `tile` is no MGRS 100 km square.
    """
    match = _TILE.fullmatch(tile)
    if match is None:
        raise ValueError(f"tile must be an MGRS 100 km square such as 33UUP, got {tile[:100]!r}")
    zone = int(match["zone"])
    columns = _COLUMNS[zone % 3]
    if not 1 <= zone <= 60 or match["col"] not in columns:
        raise ValueError(f"tile {tile!r}: UTM zone {zone} has the columns {columns}, not {match['col']}")
    easting = (columns.index(match["col"]) + 1) * 100_000
    row = (_ROWS.index(match["row"]) - (5 if zone % 2 == 0 else 0)) % 20  # even zones begin at F
    north = match["band"] >= "N"
    northing = _unwrap_northing(row * 100_000, match["band"], north)
    from_equator = northing + 100_000 - (0 if north else _FALSE_NORTHING_M)
    # The grid counts from the equator in both hemispheres: the false northing is no multiple of 60.
    uly = -(-from_equator // 60) * 60 + (0 if north else _FALSE_NORTHING_M)
    return TileGrid((32600 if north else 32700) + zone, float(easting // 60 * 60), float(uly))


def _unwrap_northing(northing_m: int, band: str, north: bool) -> int:
    """The northing in metres whose row letter repeats every 2,000 km: the one nearest to the middle of its band."""
    degrees = (_LATITUDE_BANDS.index(band) - 10) * 8
    # Bands are 8 degrees high, X is 12; a degree of latitude is about 110.7 km.
    middle_m = int((degrees + (6 if band == "X" else 4)) * 110_700) + (0 if north else _FALSE_NORTHING_M)
    return northing_m + round((middle_m - northing_m) / 2_000_000) * 2_000_000


def patch_cell(grid: TileGrid, ulx: float, uly: float, patch_m: int = 1200) -> tuple[int, int]:
    """(row, column) of a patch in its tile's patch grid, from its upper left corner (ulx, uly) and side, in metres.

    Raises:
        ValueError: the corner is off the patch grid, or the patch reaches outside the tile.
    """
    right, down = ulx - grid.ulx, grid.uly - uly
    if right % patch_m or down % patch_m:
        raise ValueError(
            f"upper left corner must lie on the {patch_m} m patch grid of the tile "
            f"(from {grid.ulx:.10g}, {grid.uly:.10g}), got {ulx:.10g}, {uly:.10g}"
        )
    row, col = int(down // patch_m), int(right // patch_m)
    cells = grid.size_px * 10 // patch_m
    if not (0 <= row < cells and 0 <= col < cells):
        raise ValueError(f"patch must lie inside its tile of {cells} x {cells} cells, got row {row}, column {col}")
    return row, col
