"""Metadata of a Level-2A product in the SAFE format: folder or zip file, any processing baseline.

Baseline, quantification value, offsets per band, georeference and image files are read from the product's own XML,
never inferred from dates or names. Products of BigEarthNet's time call the same things by other names
(`IMAGE_FILE_2A`, `L2A_BOA_QUANTIFICATION_VALUE`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from etl.bands import BANDS, GROUPS
from etl.catalogue.names import product_stem
from etl.grid import TileGrid
from etl.product_files import ProductError, ProductFiles, find_text, read_tile_grid

__all__ = ["Product", "read_product"]

T = TypeVar("T", int, float)


@dataclass(frozen=True, slots=True)
class Product:
    """Metadata of one Level-2A product."""

    path: str
    """Folder or zip file."""

    name: str
    """Product name, without .SAFE."""

    baseline: str
    """Processing baseline, e.g. 05.10."""

    grid: TileGrid
    """Georeference and size of its tile."""

    files: dict[str, str]
    """Path for GDAL of each band's file at its native ground sample distance, and of SCL at 20 m if it has one."""

    offsets: dict[str, int]
    """What is added to each band's pixel values before dividing by `quantification`; 0 before baseline 04.00."""

    quantification: float
    """Pixel value that stands for reflectance 1."""


def read_product(path: Path) -> Product:
    """Read the metadata of the product at `path`: grid in pixels and metres, files, offsets, quantification value.

    Raises:
        ProductError: its XML is missing, malformed, or lacks what extraction needs.
    """
    files = ProductFiles(path)
    name = product_stem(path.name)
    metadata, where = files.read_xml("MTD_MSIL2A.xml", r"MTD_MSIL2A[^/]*\.xml"), f"{path}: its product metadata"
    baseline = find_text(metadata, where, "PROCESSING_BASELINE")
    quantification = _quantification(metadata, where)
    grid, images = read_tile_grid(files), _image_files(metadata, files)
    return Product(str(path), name, baseline, grid, images, _offsets(metadata, where), quantification)


def _quantification(metadata: ElementTree.Element, where: str) -> float:
    text = find_text(metadata, where, "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
    value = _number(float, text, f"{where}, quantification value")
    if not 0 < value < float("inf"):
        raise ProductError(f"{where} must give a positive quantification value, got {value}")
    return value


def _offsets(metadata: ElementTree.Element, where: str) -> dict[str, int]:
    """`BOA_ADD_OFFSET` by band name: all twelve, or 0 for all if the product has none (before baseline 04.00)."""
    texts = {element.get("band_id"): element.text or "" for element in metadata.iterfind(".//{*}BOA_ADD_OFFSET")}
    if not texts:
        return {band.name: 0 for band in BANDS}
    missing = [band.name for band in BANDS if str(band.band_id) not in texts]
    if missing:
        raise ProductError(f"{where} gives BOA_ADD_OFFSET for some bands but not for {', '.join(missing)}")
    named = {band.name: texts[str(band.band_id)] for band in BANDS}
    return {name: _number(int, text, f"{where}, BOA_ADD_OFFSET of {name}") for name, text in named.items()}


def _number(kind: Callable[[str], T], text: str, what: str) -> T:
    try:
        return kind(text)
    except ValueError:
        raise ProductError(f"{what} must be a number, got {text!r}") from None


def _image_files(metadata: ElementTree.Element, files: ProductFiles) -> dict[str, str]:
    """GDAL paths of the image files, by band: as the XML lists them, else found by the end of their names."""
    listed = [
        (element.text or "").strip()
        for tag in ("IMAGE_FILE", "IMAGE_FILE_2A")
        for element in metadata.iterfind(".//{*}" + tag)
    ]
    # products also hold bands at coarser resolutions than their own, and list those first
    endings = {band: f"_{band}_{group.gsd_m}m" for group in GROUPS for band in group.bands} | {"SCL": "_SCL_20m"}
    # The XML lists images without their suffix; .tif is what some users convert them to.
    present = {name.rsplit(".", 1)[0]: name for name in sorted(files.names) if name.endswith((".jp2", ".tif"))}
    path_by_band = {}
    for band, ending in endings.items():
        stems = [stem for stem in listed if stem.endswith(ending) and stem in present]
        stems += [stem for stem in present if stem.endswith(ending) and "/IMG_DATA/" in stem]
        if stems:
            path_by_band[band] = files.gdal_path(present[stems[0]])
    missing = [band for band in endings if band not in path_by_band and band != "SCL"]
    if missing:
        raise ProductError(f"{files.path} must hold all twelve bands; {', '.join(missing)} missing below IMG_DATA")
    return path_by_band
