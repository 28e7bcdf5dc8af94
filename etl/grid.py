"""Where things lie on a Sentinel-2 tile: its nominal origin, its patch cells, the blocks of its files.

Everything is in pixels of the 10 m grid or in metres, always (row, col); the core works on plain integers.
"""

import re
from dataclasses import dataclass

__all__ = ["Cut", "TileGrid", "nominal_origin", "patch_cell"]

_TILE = re.compile(r"^T?(?P<zone>\d{2})(?P<band>[C-HJ-NP-X])(?P<col>[A-HJ-NP-Z])(?P<row>[A-HJ-NP-V])$")
_LATITUDE_BANDS = "CDEFGHJKLMNPQRSTUVWX"
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


@dataclass(frozen=True, slots=True)
class Cut:
    """Regular cut of an axis of `size` pixels into blocks of `block` pixels; the last one may be shorter."""

    size: int
    """Pixels along the axis, in the group's own pixels."""

    block: int
    """Pixels of one block along the axis."""

    def __post_init__(self) -> None:
        if self.size <= 0 or self.block <= 0:
            raise ValueError(f"size and block must be positive, got {self.size} and {self.block}")

    @property
    def blocks(self) -> int:
        """Number of blocks along the axis."""
        return -(-self.size // self.block)

    def span(self, index: int) -> tuple[int, int]:
        """First pixel of block `index` and the one behind its last."""
        return index * self.block, min((index + 1) * self.block, self.size)

    def covering(self, first: int, stop: int) -> range:
        """Indices of the blocks that hold pixels of [first, stop), clipped to the axis."""
        first, stop = max(first, 0), min(stop, self.size)
        return range(first // self.block, (stop - 1) // self.block + 1) if stop > first else range(0)


def nominal_origin(tile: str) -> TileGrid:
    """Georeference of the Sentinel-2 tile with this MGRS name, e.g. 33UUP or T33UUP.

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
    row = (_ROWS.index(match["row"]) - (5 if zone % 2 == 0 else 0)) % 20
    north = match["band"] >= "N"
    northing = _unwrap_northing(row * 100_000, match["band"], north)
    from_equator = northing + 100_000 - (0 if north else _FALSE_NORTHING_M)
    uly = -(-from_equator // 60) * 60 + (0 if north else _FALSE_NORTHING_M)
    return TileGrid((32600 if north else 32700) + zone, float(easting // 60 * 60), float(uly))


def _unwrap_northing(northing_m: int, band: str, north: bool) -> int:
    """The row letters repeat every 2,000 km; the latitude band says which repetition is meant."""
    degrees = (_LATITUDE_BANDS.index(band) - 10) * 8
    middle_m = int((degrees + (6 if band == "X" else 4)) * 110_700) + (0 if north else _FALSE_NORTHING_M)
    return northing_m + round((middle_m - northing_m) / 2_000_000) * 2_000_000


def patch_cell(grid: TileGrid, ulx: float, uly: float, patch_m: int = 1200) -> tuple[int, int]:
    """(row j, col i) of the patch whose upper left corner is (ulx, uly), both in m.

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
