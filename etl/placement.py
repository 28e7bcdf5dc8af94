"""Position and pixel size of a raster: as plain data, compared, and in words."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Georeference", "georeference_of", "place_mismatch"]


@dataclass(frozen=True, slots=True)
class Georeference:
    """Position and pixel size of a north-up raster."""

    epsg: int
    """EPSG code of the projection."""

    ulx: float
    """Easting of the upper left corner in m."""

    uly: float
    """Northing of the upper left corner in m."""

    gsd_m: int
    """Pixel side in m."""


def georeference_of(transform: Sequence[float] | None, projection: str) -> Georeference | None:
    """Position and pixel size in metres; None if one is unknown, or the raster is not north-up with square pixels.

    `transform`: affine from (column, row) to metres, GDAL's six numbers; `projection`: EPSG:<code>, or another name.
    """
    authority, _, code = projection.partition(":")
    if transform is None or authority != "EPSG":
        return None
    ulx, width, rotation, uly, rotation2, height = transform
    if rotation or rotation2 or width != -height or not width.is_integer():
        return None
    return Georeference(int(code), ulx, uly, int(width))


def place_mismatch(
    transform: Sequence[float] | None, projection: str, expected: Georeference, shape: tuple[int, int]
) -> str:
    """How a raster of `shape` (rows, columns) lies elsewhere than it must, in words; empty if it does not.

    Of one without a transform or a projection, only the other is compared; arguments as of `georeference_of`.
    """
    epsg = f"EPSG:{expected.epsg}"
    wanted = (expected.ulx, float(expected.gsd_m), 0.0, expected.uly, 0.0, float(-expected.gsd_m))
    if (transform is None or _same_place(transform, wanted, shape)) and projection in ("", epsg):
        return ""
    return f"must lie at {_described(wanted, epsg)}, got {_described(transform, projection)}"


def _same_place(transform: Sequence[float], wanted: Sequence[float], shape: tuple[int, int]) -> bool:
    """Whether two transforms put three corners of a raster of `shape` (rows, columns) within 1/100 of a pixel."""
    rows, columns = shape
    corners, limit = ((0, 0), (columns, 0), (0, rows)), wanted[1] / 100
    difference = [a - b for a, b in zip(transform, wanted, strict=True)]
    return all(
        abs(difference[k] + column * difference[k + 1] + row * difference[k + 2]) < limit
        for column, row in corners
        for k in (0, 3)
    )


def _described(transform: Sequence[float] | None, projection: str) -> str:
    """Corner, projection and pixel size in words."""
    if transform is None:
        return projection
    ulx, width, rotation, uly, rotation2, height = transform
    size = f"{width:.6g} m" if width == -height else f"{width:.6g} x {-height:.6g} m"
    rotated = f", rotated by {rotation:.6g}, {rotation2:.6g}" if rotation or rotation2 else ""
    return f"{ulx:.10g}, {uly:.10g} in {projection or 'no projection'} with pixels of {size}{rotated}"
