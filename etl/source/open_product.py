"""Open a Level-2A product in any of the formats and packings, and each of its bands."""

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from etl.bucket_files import RemoteFile, is_remote
from etl.catalogue.finder import name_of_product
from etl.eopf import array_name
from etl.grid import PixelWindow
from etl.input_files import NO_LINKS, Links
from etl.placement import Georeference
from etl.product_files import ProductError, ProductFiles, product_errors
from etl.raster import RasterError, RasterFile
from etl.source.eopf_product import read_eopf
from etl.source.product import Product
from etl.source.remote_image import RemoteImage
from etl.source.safe import read_safe
from etl.source.zarr_band import ZarrBand

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
        ConnectionError: the server of a bucket does not answer.
    """
    path = product.files[band]
    if not (product.is_zarr or is_remote(Path(product.path))):
        return RasterFile(path)
    try:
        with _listing:
            files = _files_of(product.path, product.links)
    except ProductError as error:
        raise RasterError(str(error)) from None
    if product.is_zarr:
        return ZarrBand(files, array_name(band))
    name = next((name for name in files.names if files.gdal_path(name) == path), "")
    file = files.open_ranges(name) if name else None
    if not isinstance(file, RemoteFile):
        raise RasterError(f"{path} is not in the bucket any more")
    return RemoteImage(file, files.stat(name))


_listing = threading.Lock()
"""Held while a product's files are listed, by one of the threads that open its bands."""


@lru_cache(maxsize=2)
def _files_of(path: str, links: Links) -> ProductFiles:
    """Files of a product: its bands are opened one after another, and listing takes as long, or a request."""
    return ProductFiles(Path(path), links)
