"""Open a Level-2A product in any of the formats and packings, and each of its bands."""

from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from etl.bucket_files import is_remote
from etl.catalogue.finder import name_of_product
from etl.grid import PixelWindow
from etl.input_files import NO_LINKS, Links
from etl.placement import Georeference
from etl.product_files import ProductFiles, product_errors
from etl.raster import RasterFile
from etl.source.eopf_product import read_eopf
from etl.source.product import Product
from etl.source.remote_image import open_remote_image
from etl.source.safe import read_safe
from etl.source.zarr_band import open_zarr_band

__all__ = ["OpenBand", "open_band", "read_product"]


class OpenBand(Protocol):
    """One open band of a product; `etl.raster.RasterFile` says what its attributes and methods are."""

    path: str
    shape: tuple[int, int]
    block: tuple[int, int]
    decode_cost: float

    @property
    def is_placed(self) -> bool:
        """Whether the file itself says where it lies."""

    @property
    def georeference(self) -> Georeference | None:
        """Where it lies by what the file says; None if it does not say."""

    def mismatch(self, shape: tuple[int, int], dtype: str, expected: Georeference | None) -> str:
        """How the file differs from what it must be; empty if it does not."""

    def read(self, window: PixelWindow, out: npt.NDArray[Any]) -> None:
        """Decode a window into `out`, shape (row, col)."""


def read_product(path: Path, assume_offset: int | None = None, links: Links = NO_LINKS) -> Product:
    """Read the metadata of the product at `path`: grid in pixels and metres, files, offsets, quantification value.

    `assume_offset`: offset of all bands, in units of the pixel values, of a product of baseline 04.00 or later whose
    metadata give none; if this is None as well, such a product is refused. `links`: where links in the product may
    lead, other than to places within it.

    Raises:
        ProductError: its metadata are missing, malformed, or lacks what extraction needs; or anything else went wrong.
    """
    with product_errors(path):
        files = ProductFiles(path, links)
        name = name_of_product(files)
        return (read_eopf if files.is_zarr else read_safe)(files, name, assume_offset, links)


def open_band(product: Product, band: str) -> OpenBand:
    """A band of a product, or its scene classification, SCL.

    Raises:
        RasterError: its file is absent, cannot be read, or claims to be larger than any real one.
    """
    if product.is_zarr:
        return open_zarr_band(product, band)
    return open_remote_image(product, band) if is_remote(Path(product.path)) else RasterFile(product.files[band])
