"""Numbers in a product's metadata, which must lie within bounds: whoever wrote them can have erred, or be hostile."""

from collections.abc import Callable
from typing import TypeVar

from etl.grid import TileGrid
from etl.input_files import shortened
from etl.product_files import ProductError

__all__ = ["number_in", "tile_grid_of"]

T = TypeVar("T", int, float)

_EPSG = (32601, 32760)
"""Codes of the UTM zones of WGS 84, in which all tiles lie."""

_METRES = (-1_000_000, 11_000_000)
"""Least and most easting or northing of a tile's corner, in m."""

_SIDE_PX = (1, 10_980)
"""Least and most side of a tile on the 10 m grid, in pixels."""


def tile_grid_of(where: str, epsg: str, size: tuple[str, str], corner: tuple[str, str]) -> TileGrid:
    """Georeference of a tile on its 10 m grid, from texts: EPSG code; (rows, columns); (easting, northing) in metres.

    Raises:
        ProductError: one is no number, out of bounds, or does not fit the others; the message begins with `where`.
    """
    rows, columns = size
    if rows != columns:
        raise ProductError(
            f"{where} must give a square tile, got {shortened(rows, 40)} x {shortened(columns, 40)} pixels"
        )
    code = number_in(int, epsg, f"{where}, EPSG code", _EPSG)
    easting, northing = (
        number_in(float, x, f"{where}, {name}", _METRES) for name, x in zip(("ULX", "ULY"), corner, strict=True)
    )
    side_px = number_in(int, rows, f"{where}, NROWS at 10 m", _SIDE_PX)
    try:
        return TileGrid(code, easting, northing, side_px)
    except ValueError as error:
        raise ProductError(f"{where} must give EPSG code, size and corner of the 10 m grid: {error}") from None


def number_in(kind: Callable[[str], T], text: str, what: str, bounds: tuple[float, float]) -> T:
    """The number in a text of a product's metadata, which must lie in [least, most].

    Raises:
        ProductError: it is none, or out of these bounds; the message begins with `what`.
    """
    least, most = bounds
    try:
        value = kind(text)
    except (ValueError, OverflowError):
        raise ProductError(f"{what} must be a number, got {shortened(text, 40)!r}") from None
    if not least <= value <= most:  # neither nan nor inf is within
        raise ProductError(f"{what} must lie in [{least:.10g}, {most:.10g}], got {shortened(text, 40)}")
    return value
