"""Products in EOPF's Zarr format, as ESA publishes them, made from products in SAFE: the same pixels, bit for bit."""

import shutil
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import Blosc

from etl.bands import GROUPS
from etl.grid import PixelWindow
from etl.raster import RasterFile
from etl.source.open_product import read_product
from etl.source.product import Product

__all__ = ["CHUNKS", "attributes_of", "convert_all", "write_eopf", "zipped"]

BLOSC = {
    2: Blosc(cname="zstd", clevel=3, shuffle=Blosc.BITSHUFFLE),
    3: zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
}
"""The codec of published products, by Zarr format."""

CHUNKS = {10: 2, 20: 1, 60: 1}
"""Chunks along one side of a band, by ground sample distance, as in published products."""


def write_eopf(
    safe: Path, out: Path, zarr_format: Literal[2, 3] = 2, *, codec: Any = None, chunks: dict[int, int] = CHUNKS
) -> Path:
    """Write the product in `safe` as a folder below `out`; returns its path."""
    product = read_product(safe)
    path = out / f"{product.name}.zarr"
    root = zarr.create_group(path, zarr_format=zarr_format, attributes=_item(product))
    for group in GROUPS:
        for band in group.bands:
            pixels = _read(product, band, np.uint16)
            name = f"measurements/reflectance/r{group.gsd_m}m/{band.lower()}"
            _write(root, name, pixels, attributes_of(product, band, group.gsd_m), codec, chunks[group.gsd_m])
    if "SCL" in product.files:
        place = _place(product, 20)
        name = "conditions/mask/l2a_classification/r20m/scl"
        _write(root, name, _read(product, "SCL", np.uint8), place, codec, chunks[20])
    zarr.consolidate_metadata(path, zarr_format=zarr_format)
    return path


def convert_all(tiles: Path, out: Path, zarr_format: Literal[2, 3] = 2) -> Path:
    """Write all products of `tiles` below `out`; returns `out`."""
    for safe in sorted(tiles.glob("*.SAFE")):
        write_eopf(safe, out, zarr_format)
    return out


def zipped(folder: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    """The folder of a product as a zip file beside it, which takes its place."""
    path = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(folder)
    return path


def _item(product: Product) -> dict[str, Any]:
    """Attributes of the product's own group, as far as extraction reads them."""
    grid = product.grid
    south, east = grid.uly - 10 * grid.size_px, grid.ulx + 10 * grid.size_px
    properties = {
        "platform": f"sentinel-2{product.name[2].lower()}",
        "eopf:baseline": product.baseline,
        "processing:level": "L2A",
        "proj:epsg": grid.epsg,
        "proj:bbox": [grid.ulx, south, east, grid.uly],
    }
    return {"stac_discovery": {"id": f"{product.name}.SAFE", "properties": properties}, "other_metadata": {}}


def attributes_of(product: Product, band: str, gsd_m: int) -> dict[str, Any]:
    """Attributes of the array of a band."""
    scale = 1 / product.quantification
    return {
        **_place(product, gsd_m),
        "scale_factor": scale,
        "add_offset": product.offsets[band] * scale,
        "valid_min": 1,
        "valid_max": 65535,
        "units": "digital_counts",
    }


def _place(product: Product, gsd_m: int) -> dict[str, Any]:
    grid, side = product.grid, product.grid.size_px * 10 // gsd_m
    transform = [float(gsd_m), 0.0, grid.ulx, 0.0, float(-gsd_m), grid.uly, 0.0, 0.0, 1.0]
    return {"proj:epsg": grid.epsg, "proj:shape": [side, side], "proj:transform": transform}


def _read(product: Product, band: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    file = RasterFile(product.files[band])
    pixels = np.empty(file.shape, dtype)
    file.read(PixelWindow(0, 0, *file.shape), pixels)
    return pixels


def _write(
    root: zarr.Group, name: str, pixels: npt.NDArray[Any], attributes: dict[str, Any], codec: Any, chunks: int
) -> None:
    zarr_format = root.metadata.zarr_format
    side = -(-pixels.shape[0] // chunks)
    array = root.create_array(
        name,
        shape=pixels.shape,
        chunks=(side, side),
        dtype=pixels.dtype,
        compressors=BLOSC[zarr_format] if codec is None else codec,
        fill_value=0,
        attributes=attributes,
    )
    array[...] = pixels
