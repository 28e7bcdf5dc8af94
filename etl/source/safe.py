"""Metadata of a Level-2A product in the SAFE format: folder or zip file, any processing baseline.

Baseline, quantification value, offsets per band, georeference and image files are read from the product's own XML,
never inferred from dates or names. Products of BigEarthNet's time call the same things by other names
(`IMAGE_FILE_2A`, `L2A_BOA_QUANTIFICATION_VALUE`).
"""

import re
from collections.abc import Callable, Iterable
from typing import TypeVar
from xml.etree import ElementTree

from etl.bands import BANDS, GROUPS
from etl.input_files import Links, shortened
from etl.product_files import ProductError, ProductFiles
from etl.product_metadata import find_granule, find_text, read_tile_grid
from etl.source.product import Product, check_offset, checked_quantification, unlisted_offset
from etl.source.warning import SourceWarning

__all__ = ["UNUSED_GEOTIFF", "files_to_read", "read_safe"]

UNUSED_GEOTIFF = "GeoTIFF files beside JPEG 2000 files of the same bands, which are read instead"
"""What `SourceWarning` says of such files."""

_ENDINGS = {band: f"_{band}_{group.gsd_m}m" for group in GROUPS for band in group.bands} | {"SCL": "_SCL_20m"}
"""How the names of image files end, by band; products also hold bands at coarser resolutions than their own."""

_METADATA = re.compile(r"MTD_MSIL2A\.xml|GRANULE/[^/]+/MTD_TL\.xml", re.IGNORECASE)

T = TypeVar("T", int, float)


def files_to_read(names: Iterable[str]) -> dict[str, str]:
    """Of the files that a product's manifest lists those that extraction reads, each by what it holds."""
    found = dict[str, str]()
    for name in names:
        stem = name.removesuffix(".jp2")
        if _METADATA.fullmatch(name):
            found[name.rpartition("/")[2]] = name
        elif stem != name and "/IMG_DATA/" in name:
            found |= {band: name for band, ending in _ENDINGS.items() if stem.endswith(ending)}
    return found


def read_safe(files: ProductFiles, name: str, assume_offset: int | None, links: Links) -> Product:
    """Read the metadata of the product `name` in SAFE; arguments otherwise as of `etl.source.product.read_product`.

    Raises:
        ProductError: its XML is missing, malformed, or lacks what extraction needs.
    """
    metadata, where = files.read_metadata(of_today=True), f"{files.path}: its product metadata"
    baseline = find_text(metadata, where, "PROCESSING_BASELINE")
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9]{1,2}", baseline):
        raise ProductError(
            f"{where}, processing baseline must be a number, like 05.10, got {shortened(baseline, 40)!r}"
        )
    quantification = _quantification(metadata, where)
    grid, (images, warnings) = read_tile_grid(files), _image_files(metadata, files)
    offsets = _offsets(metadata, where)
    if not offsets:
        offset, unlisted = unlisted_offset(baseline, where, assume_offset)
        warnings += unlisted
        offsets = dict.fromkeys((band.name for band in BANDS), offset)
    return Product(str(files.path), name, baseline, grid, images, offsets, quantification, warnings, links)


def _quantification(metadata: ElementTree.Element, where: str) -> float:
    text = find_text(metadata, where, "BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE")
    return checked_quantification(_number(float, text, f"{where}, quantification value"), where)


def _offsets(metadata: ElementTree.Element, where: str) -> dict[str, int]:
    """`BOA_ADD_OFFSET` by band name: all twelve, or empty if the product lists none."""
    texts = {element.get("band_id"): element.text or "" for element in metadata.iterfind(".//{*}BOA_ADD_OFFSET")}
    missing = [band.name for band in BANDS if str(band.band_id) not in texts]
    if missing and texts:
        raise ProductError(f"{where} gives BOA_ADD_OFFSET for some bands but not for {', '.join(missing)}")
    named = {band.name: texts[str(band.band_id)] for band in BANDS if texts}
    offsets = {name: _number(int, text, f"{where}, BOA_ADD_OFFSET of {name}") for name, text in named.items()}
    for name, offset in offsets.items():
        check_offset(offset, where, "BOA_ADD_OFFSET", name)
    return offsets


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
    present = _present_images(files)
    # a file that names another tile or time than all that the XML lists is another product's
    named = {_tile_and_time(stem) for stem in listed} - {""}
    stray = {stem for stem in present if named and _tile_and_time(stem) not in {"", *named}}
    path_by_band, unused = {}, []
    for band, ending in _ENDINGS.items():
        stems = [stem for stem in listed if stem.endswith(ending) and stem in present]
        stems += [stem for stem in present if stem.endswith(ending) and "/IMG_DATA/" in stem and stem not in stray]
        if stems:
            path_by_band[band] = files.gdal_path(present[stems[0]])
            other = [f"{stems[0]}{suffix}" for suffix in (".tif", ".TIF")]
            unused += [name for name in other if name in files.names and present[stems[0]] != name]
    missing = [band for band in _ENDINGS if band not in path_by_band and band != "SCL"]
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
