"""The grid of a Sentinel-2 tile: its nominal origin by MGRS name, and the patch cells on it.

Coordinates are metres in the tile's UTM zone; cells are always (row, column).
"""

import re
from dataclasses import dataclass

__all__ = ["TileGrid", "nominal_origin", "patch_cell"]

_TILE = re.compile(r"^T?(?P<zone>\d{2})(?P<band>[C-HJ-NP-X])(?P<col>[A-HJ-NP-Z])(?P<row>[A-HJ-NP-V])$")
_LATITUDE_BANDS = "CDEFGHJKLMNPQRSTUVWX"
# MGRS leaves out I and O; column letters repeat every three zones, row letters every 20 squares of 100 km.
_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_FALSE_NORTHING_M = 10_000_000


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
    match = _TILE.match(tile)
    if match is None:
        raise ValueError(f"tile must be an MGRS 100 km square such as 33UUP, got {tile!r}")
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
    """(row j, column i) of the patch of `patch_m` metres a side whose upper left corner is (ulx, uly), in metres.

    Raises:
        ValueError: the corner is off the patch grid, or the patch reaches outside the tile.
    """
    right, down = ulx - grid.ulx, grid.uly - uly
    if right % patch_m or down % patch_m:
        raise ValueError(
            f"upper left corner must lie on the {patch_m} m patch grid of the tile "
            f"(from {grid.ulx:.10g}, {grid.uly:.10g}), got {ulx:.10g}, {uly:.10g}"
        )
    i, j = int(right // patch_m), int(down // patch_m)
    cells = grid.size_px * 10 // patch_m
    if not (0 <= i < cells and 0 <= j < cells):
        raise ValueError(f"patch must lie inside its tile of {cells} x {cells} cells, got row {j}, column {i}")
    return j, i
