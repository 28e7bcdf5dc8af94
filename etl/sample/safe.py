"""Write Level-2A SAFE products in the form of any processing baseline from arrays, for samples and tests."""

import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import BAND_BY_NAME, GROUPS, NODATA, SATURATED
from etl.grid import nominal_origin
from etl.raster import Georeference, write_jp2
from etl.sample.pixels import TilePixels
from etl.sample.product import ProductSpec
from etl.sample.safe_xml import datastrip_metadata, product_manifest, product_metadata, tile_metadata

__all__ = ["BLOCK_PX", "to_stored", "write_product", "zip_product"]

BLOCK_PX = {10: 1024, 20: 640, 60: 192}
"""Side of the JPEG 2000 tiles by ground sample distance, as in ESA's products."""


def write_product(folder: Path, product: ProductSpec, pixels: TilePixels, workers: int = 1) -> Path:
    """Write the product into a new folder below `folder`, at the nominal origin of its tile; returns that folder.

    The images are lossless JPEG 2000, pixels uint16, encoded by `workers` threads. Each band is written at its own
    resolution only, with the scene classification; the metadata list no others.

    Raises:
        FileExistsError: the product is already there.
    """
    grid = replace(nominal_origin(product.tile), size_px=pixels.tile_px)
    out = folder / product.name
    strip = f"DATASTRIP/{product.datastrip_folder}"
    for path in (f"GRANULE/{product.granule}/QI_DATA", f"GRANULE/{product.granule}/AUX_DATA", f"{strip}/QI_DATA"):
        (out / path).mkdir(parents=True)
    for gsd_m in BLOCK_PX:
        (out / product.image("B02", gsd_m)).parent.mkdir(parents=True, exist_ok=True)

    def write(image: tuple[str, int]) -> str:
        band, gsd_m = image
        path = product.image(band, gsd_m)
        where = Georeference(grid.epsg, grid.ulx, grid.uly, gsd_m)
        write_jp2(out / f"{path}.jp2", _image_pixels(product, pixels, band), where, BLOCK_PX[gsd_m])
        return path

    # the slowest to encode first; sorted, as the XML must not depend on which thread ends first
    wanted = [*((band, group.gsd_m) for group in GROUPS for band in group.bands), ("SCL", 20)]
    with ThreadPoolExecutor(workers) as pool:
        images = sorted(pool.map(write, wanted))
    metadata = {
        "MTD_MSIL2A.xml": product_metadata(product, images, grid, pixels.scl),
        f"GRANULE/{product.granule}/MTD_TL.xml": tile_metadata(product, grid, pixels.scl),
        f"{strip}/MTD_DS.xml": datastrip_metadata(product),
    }
    for path, content in metadata.items():
        (out / path).write_bytes(content)
    (out / "manifest.safe").write_bytes(product_manifest(out, [*metadata, *(f"{path}.jp2" for path in images)]))
    return out


def _image_pixels(spec: ProductSpec, pixels: TilePixels, band: str) -> npt.NDArray[np.uint16] | npt.NDArray[np.uint8]:
    if band == "SCL":
        return pixels.scl
    group, data = next((g, d) for g, d in zip(GROUPS, pixels.groups, strict=True) if band in g.bands)
    offset = spec.offsets[BAND_BY_NAME[band].band_id] if spec.offsets else 0
    return to_stored(data[..., group.bands.index(band)], offset, spec.quantification)


def to_stored(values: npt.NDArray[np.uint16], offset: int, quantification: int = 10_000) -> npt.NDArray[np.uint16]:
    """Reflectance x 10,000 as a product with this `BOA_ADD_OFFSET` and quantification value stores it.

    Nodata and saturated pixels keep their values; valid ones stay within [1, 65534].
    """
    if offset == 0 and quantification == 10_000:
        return values
    special = (values == NODATA) | (values == SATURATED)
    out = values.astype(np.int64) * quantification // 10_000 - offset
    return np.where(special, values, np.clip(out, 1, SATURATED - 1)).astype(np.uint16)


def zip_product(product: Path) -> Path:
    """Write the product's folder, uncompressed, to <folder>.zip beside it, the same bytes for the same content."""
    out = product.with_name(product.name + ".zip")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted([product, *product.rglob("*")]):
            name = path.relative_to(product.parent).as_posix()
            # fixed time and mode: those of the files would change the bytes
            entry = zipfile.ZipInfo(name + "/" * path.is_dir(), (2020, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if path.is_dir() else 0o644) << 16
            archive.writestr(entry, b"" if path.is_dir() else path.read_bytes())
    return out
