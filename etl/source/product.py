"""What extraction needs of a Level-2A product's metadata, whatever its format."""

from dataclasses import dataclass

from etl.bands import SATURATED
from etl.grid import TileGrid
from etl.input_files import NO_LINKS, Links, shortened
from etl.product_files import ProductError
from etl.source.warning import SourceWarning

__all__ = ["ASSUMED_OFFSET", "NO_OFFSET", "Product", "check_offset", "checked_quantification", "unlisted_offset"]

NO_OFFSET = "products of a user's own processing without BOA_ADD_OFFSET, read with offset 0"
ASSUMED_OFFSET = "products without BOA_ADD_OFFSET, read with the offset of --assume-offset"
"""What `SourceWarning` says of such products."""

_MAX_OFFSET = 10_000
"""Reflectance 1 of ESA's products, whose offset is -1000: more is an error of whoever wrote them."""


@dataclass(frozen=True, slots=True)
class Product:
    """Metadata of one Level-2A product."""

    path: str
    """Folder or zip file."""

    name: str
    """Product name, without .SAFE or .zarr."""

    baseline: str
    """Processing baseline, e.g. 05.10."""

    grid: TileGrid
    """Georeference and size of its tile."""

    files: dict[str, str]
    """Path of each band's file at its native ground sample distance, and of SCL at 20 m if it has one: for GDAL, or of
    an array."""

    offsets: dict[str, int]
    """What is added to each band's pixel values before dividing by `quantification`; 0 before baseline 04.00."""

    quantification: float
    """Pixel value that stands for reflectance 1."""

    warnings: tuple[SourceWarning, ...] = ()
    """What is odd about its metadata, but no reason to reject it."""

    links: Links = NO_LINKS
    """Where links in it may lead, other than to places within it."""

    is_zarr: bool = False
    """Whether it is in EOPF's Zarr format, else in SAFE."""


def checked_quantification(value: float, where: str) -> float:
    """The pixel value that stands for reflectance 1, which must be one of 16 bits.

    Raises:
        ProductError: it is not; the message begins with `where`.
    """
    if not 1 <= value <= SATURATED:  # neither nan nor inf is within
        raise ProductError(f"{where} must give a quantification value in [1, {SATURATED}], got {value:.10g}")
    return value


def check_offset(offset: int, where: str, name: str, band: str) -> None:
    """Check that the offset of a band, in units of the pixel values, is one that a processor can mean.

    `name`: what the metadata call it.

    Raises:
        ProductError: it is not; the message begins with `where`.
    """
    if abs(offset) > _MAX_OFFSET:
        limits, shown = f"[-{_MAX_OFFSET}, {_MAX_OFFSET}]", shortened(str(offset), 40)
        raise ProductError(f"{where} must give {name} in {limits}, got {shown} for {band}")


def unlisted_offset(baseline: str, where: str, assumed: int | None) -> tuple[int, tuple[SourceWarning, ...]]:
    """Offset of all bands of a product whose metadata give none, and what to warn of.

    ESA's products have no offset before baseline 04.00, and always list it since. Baseline 99.99 is processing by a
    user, of data of any time. `assumed`: the offset that a user has given for this case, or None.

    Raises:
        ProductError: there must be one; the message begins with `where`.

    Source: ESA, Sentinel-2 Products Specification Document, `BOA_ADD_OFFSET`.
    """
    number = float(baseline)
    if number < 4:
        return 0, ()
    if number >= 99:
        return 0, (SourceWarning(NO_OFFSET, where),)
    if assumed is None:
        raise ProductError(
            f"{where} must list BOA_ADD_OFFSET, as baseline {baseline} is 04.00 or later, but does not; "
            "etl.extract --assume-offset COUNTS, such as -1000, takes an offset for such products"
        )
    return assumed, (SourceWarning(ASSUMED_OFFSET, where),)
