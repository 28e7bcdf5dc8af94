"""Metadata of a Level-2A product in the SAFE format: folder or zip file, any processing baseline.

Baseline, quantification value, offsets per band, georeference and image files are read from the product's own XML,
never inferred from dates or names. Products of BigEarthNet's time call the same things by other names
(`IMAGE_FILE_2A`, `L2A_BOA_QUANTIFICATION_VALUE`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from etl.bands import BANDS, GROUPS, SATURATED
from etl.catalogue.finder import name_of_product
from etl.grid import TileGrid
from etl.input_files import NO_LINKS, Links, shortened
from etl.product_files import ProductError, ProductFiles, find_granule, find_text, product_errors, read_tile_grid
from etl.source.warning import SourceWarning

__all__ = ["ASSUMED_OFFSET", "NO_OFFSET", "UNUSED_GEOTIFF", "Product", "read_product"]

NO_OFFSET = "products of a user's own processing without BOA_ADD_OFFSET, read with offset 0"
ASSUMED_OFFSET = "products without BOA_ADD_OFFSET, read with the offset of --assume-offset"
UNUSED_GEOTIFF = "GeoTIFF files beside JPEG 2000 files of the same bands, which are read instead"
"""What `SourceWarning` says of such products and files."""

_MAX_OFFSET = 10_000  # reflectance 1 of ESA's products, whose offset is -1000: more is an error of whoever wrote them

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

    warnings: tuple[SourceWarning, ...] = ()
    """What is odd about its metadata, but no reason to reject it."""

    links: Links = NO_LINKS
    """Where links in it may lead, other than to places within it."""


def read_product(path: Path, assume_offset: int | None = None, links: Links = NO_LINKS) -> Product:
    """Read the metadata of the product at `path`: grid in pixels and metres, files, offsets, quantification value.

    `assume_offset`: offset of all bands, in units of the pixel values, of a product of baseline 04.00 or later whose
    metadata give none; if this is None as well, such a product is refused. `links`: where links in the product may
    lead, other than to places within it.

    Raises:
        ProductError: its XML is missing, malformed, or lacks what extraction needs; or anything else went wrong.
    """
    with product_errors(path):
        return _read_product(path, assume_offset, links)


def _read_product(path: Path, assume_offset: int | None, links: Links) -> Product:
    files = ProductFiles(path, links)
    name = name_of_product(files)
    metadata, where = files.read_metadata(of_today=True), f"{path}: its product metadata"
    baseline = find_text(metadata, where, "PROCESSING_BASELINE")
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9]{1,2}", baseline):
        raise ProductError(
            f"{where}, processing baseline must be a number, like 05.10, got {shortened(baseline, 40)!r}"
        )
    quantification = _quantification(metadata, where)
    grid, (images, warnings) = read_tile_grid(files), _image_files(metadata, files)
    offsets = _offsets(metadata, where)
    if not offsets:
        offset, unlisted = _unlisted_offset(baseline, where, assume_offset)
        warnings += unlisted
        offsets = dict.fromkeys((band.name for band in BANDS), offset)
    return Product(str(path), name, baseline, grid, images, offsets, quantification, warnings, links)


def _quantification(metadata: ElementTree.Element, where: str) -> float:
    text = find_text(metadata, where, "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
    value = _number(float, text, f"{where}, quantification value")
    if not 1 <= value <= SATURATED:  # pixels are 16 bits wide; neither nan nor inf is within
        raise ProductError(f"{where} must give a quantification value in [1, {SATURATED}], got {value:.10g}")
    return value


def _offsets(metadata: ElementTree.Element, where: str) -> dict[str, int]:
    """`BOA_ADD_OFFSET` by band name: all twelve, or empty if the product lists none."""
    texts = {element.get("band_id"): element.text or "" for element in metadata.iterfind(".//{*}BOA_ADD_OFFSET")}
    missing = [band.name for band in BANDS if str(band.band_id) not in texts]
    if missing and texts:
        raise ProductError(f"{where} gives BOA_ADD_OFFSET for some bands but not for {', '.join(missing)}")
    named = {band.name: texts[str(band.band_id)] for band in BANDS if texts}
    offsets = {name: _number(int, text, f"{where}, BOA_ADD_OFFSET of {name}") for name, text in named.items()}
    for name, offset in offsets.items():
        if abs(offset) > _MAX_OFFSET:
            limits = f"[-{_MAX_OFFSET}, {_MAX_OFFSET}]"
            shown = shortened(str(offset), 40)
            raise ProductError(f"{where} must give BOA_ADD_OFFSET in {limits}, got {shown} for {name}")
    return offsets


def _unlisted_offset(baseline: str, where: str, assumed: int | None) -> tuple[int, tuple[SourceWarning, ...]]:
    """Offset of all bands of a product without a list of offsets, and what to warn of.

    ESA's products have no offset before baseline 04.00, and always list it since. Baseline 99.99 is processing by a
    user, of data of any time. Source: ESA, Sentinel-2 Products Specification Document, `BOA_ADD_OFFSET`.
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


def _number(kind: Callable[[str], T], text: str, what: str) -> T:
    try:
        return kind(text)
    except (ValueError, OverflowError):
        raise ProductError(f"{what} must be a number, got {shortened(text, 40)!r}") from None


def _image_files(
    metadata: ElementTree.Element, files: ProductFiles
) -> tuple[dict[str, str], tuple[SourceWarning, ...]]:
    """GDAL paths of the image files, by band, and what to warn of: as the XML lists them, else by the ends of names."""
    listed = [
        (element.text or "").strip()
        for tag in ("IMAGE_FILE", "IMAGE_FILE_2A")
        for element in metadata.iterfind(".//{*}" + tag)
    ]
    # products also hold bands at coarser resolutions than their own, and list those first
    endings = {band: f"_{band}_{group.gsd_m}m" for group in GROUPS for band in group.bands} | {"SCL": "_SCL_20m"}
    present = _present_images(files)
    # a file that names another tile or time than all that the XML lists is another product's
    named = {_tile_and_time(stem) for stem in listed} - {""}
    stray = {stem for stem in present if named and _tile_and_time(stem) not in {"", *named}}
    path_by_band, unused = {}, []
    for band, ending in endings.items():
        stems = [stem for stem in listed if stem.endswith(ending) and stem in present]
        stems += [stem for stem in present if stem.endswith(ending) and "/IMG_DATA/" in stem and stem not in stray]
        if stems:
            path_by_band[band] = files.gdal_path(present[stems[0]])
            other = [f"{stems[0]}{suffix}" for suffix in (".tif", ".TIF")]
            unused += [name for name in other if name in files.names and present[stems[0]] != name]
    missing = [band for band in endings if band not in path_by_band and band != "SCL"]
    if missing:
        raise ProductError(
            f"{files.path} must hold all twelve bands; {', '.join(missing)} missing below IMG_DATA{files.hint}"
        )
    warnings = (SourceWarning(UNUSED_GEOTIFF, f"{files.path}: {unused[0]}", len(unused)),) if unused else ()
    return path_by_band, warnings


def _present_images(files: ProductFiles) -> dict[str, str]:
    """Images of the product's granule by their path without suffix, as the XML lists them, .jp2 first.

    .tif is what some users convert them to. Only the .jp2 has a checksum, so it is taken where both are there.
    """
    granule = f"{find_granule(files)}/"
    images = [name for name in files.names if name.startswith(granule) and name.lower().endswith((".jp2", ".tif"))]
    present = dict[str, str]()
    for name in sorted(images, key=lambda name: (name.lower().endswith(".tif"), name)):
        present.setdefault(name.rsplit(".", 1)[0], name)
    return present


def _tile_and_time(stem: str) -> str:
    """Tile and sensing time in the name of an image, e.g. T33UUP_20170613T101031; empty if it has none."""
    match = re.search(r"T\d{2}[A-Z]{3}_\d{8}T\d{6}(?=_\w+$)", stem)
    return match[0] if match else ""
