"""Read native pixels of one rank's part of the rows again from the source, and compare them bit for bit.

Independent of the code of extraction: no plan, no blocks, no cache of its own. A window's position in a file follows
from the file's own georeference, not from the product's metadata.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS, Group
from etl.bucket_files import can_exist
from etl.catalogue.finder import FoundProduct, PatchLocator, find_products
from etl.grid import PixelWindow
from etl.input_files import Links, check_link, fault_text
from etl.pixel_groups import IMAGES, SENTINEL1, SENTINEL1_GROUP, PixelGroup
from etl.product_files import ProductError
from etl.raster import Georeference, RasterError, RasterFile, configure
from etl.source.images import read_image
from etl.source.open_product import OpenBand, open_band, read_product
from etl.source.patch import PatchError
from etl.source.product import Product
from etl.source.radiometry import lookup_table
from etl.source.remote_image import RemoteImage
from etl.source.sentinel1 import PairedPatch, Sentinel1Folders, Sentinel1Patches, find_sentinel1
from etl.store.errors import DamagedStoreError
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.tar_archive import PackedLocator, PackedPatch
from etl.verify.check import Faults
from etl.verify.copies import usable_copies
from etl.verify.settings import VerifySettings

__all__ = ["SourceRow", "check_pixels", "find_source_rows"]

_KEPT_TILES = 12
"""Tiles of a band in a bucket that are kept: a row of patches crosses eleven, and the next row the same."""

OpenProduct = tuple[Product, dict[str, OpenBand]]
"""A product, and its open files by band."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A row of the store, and where its pixels are in the source."""

    row: int
    """Row of the store."""

    path: Path
    """Its product, its folder in a patch archive, or its image file; does not exist if the product is missing."""

    tiled: bool
    """Whether `path` is a product."""

    epsg: int
    """EPSG code of the UTM projection."""

    corner: tuple[float, float]
    """Easting and northing of the upper left corner in m."""

    others: tuple[Path, ...]
    """Further copies of its product or patch folder, which may serve it where `path` is broken."""

    assume_offset: int | None
    """Offset with which the store was made of products that do not list theirs, in units of their pixel values."""

    links: Links
    """Where links in the source may lead."""

    packed: PackedPatch | None = None
    """Its patch in a tar file, below which `path` then is."""

    paired: PairedPatch | None = None
    """Its patch of Sentinel-1; None if those are not compared."""


def find_source_rows(store: StoreReader, settings: VerifySettings, source: Path) -> list[SourceRow]:
    """As many rows of state 1 as `settings` say, ascending, the same for the same seed, with their paths in `source`.

    Corners are in metres, in the UTM zone of the patch.

    Raises:
        ValueError: `source` holds neither products nor patches.
    """
    if not can_exist(source):
        raise ValueError(f"--source must be a folder of products or patches, got {source}, which is not there")
    products: Sequence[FoundProduct] = ()
    locator: PatchLocator | PackedLocator | None = None
    if store.schema.absent:
        raise ValueError(f"--source does not apply to {store.location}: another program wrote it, of files not known")
    links = Links.into(source, *settings.allow_links)
    if store.schema.images is None:
        found = find_products(source, settings.allow_links)
        products, locator = found.products, found.folder_of
        if not products and locator is None:
            raise ValueError(
                "--source must hold Level-2A products (.SAFE, .zarr or .zip) or patch folders, "
                f"got {source}{found.hint}"
            )
    assumed, folders = store.attributes.get("assume_offset"), _find_sentinel1(store, settings.sentinel1)
    copies_of = lru_cache(None)(partial(usable_copies, products, assume_offset=assumed))
    rows, source_rows, sample = store.written, [], settings.sample
    if 0 < sample < len(rows):
        rows = np.sort(np.random.default_rng(settings.seed).choice(rows, sample, replace=False))
    for row in rows.tolist():
        patch, product = (store.column(name)[row].decode() for name in ("patch", "product"))
        epsg, ulx, uly = (store.column(name)[row].item() for name in ("epsg", "ulx", "uly"))
        packed, others = None, list[Path]()
        if products:
            path, *others = copies_of(product) or (Path(product),)
        elif isinstance(locator, PackedLocator):
            packed = locator(patch)
            path = packed.path
        else:
            path, *others = locator.copies(patch) if locator else (source / patch,)  # an image file's name is its path
        place, paired = (epsg, (ulx, uly)), None
        if folders is not None:
            name = store.column("s1_name")[row].decode()
            paired = PairedPatch(folders(name) if name else None, Georeference(epsg, ulx, uly, GROUPS[0].gsd_m))
        source_rows.append(SourceRow(row, path, bool(products), *place, tuple(others), assumed, links, packed, paired))
    return source_rows


def _find_sentinel1(store: StoreReader, source: Path | None) -> Sentinel1Folders | None:
    """Where the patches of Sentinel-1 are, if `source` is given."""
    if source is None:
        return None
    if not store.schema.sentinel1_bytes:
        raise ValueError(f"--sentinel1 needs a store with data_s1; {store.location} has none")
    return find_sentinel1(source, (name.decode() for name in store.column("s1_name").tolist()))


def check_pixels(
    store: Location, sentinel1: Sentinel1Patches | None, rows: Sequence[SourceRow], on_row: Callable[[int], None]
) -> Faults:
    """Compare the native pixel arrays of the store at `store` with the source, over `rows`; and those of Sentinel-1."""
    os.environ.setdefault("GDAL_CACHEMAX", "400")  # MiB: neighbouring patches share blocks
    configure()
    faults = Faults()
    with StoreReader(store, check=False) as reader:
        open_last = lru_cache(2)(_open_product)  # rows are in the order of products, which can have a copy
        for k, source in enumerate(rows, start=1):
            texts = _differences(reader, source, open_last)
            # extraction goes on to the next copy where one has a broken block or file
            others = (replace(source, path=path) for path in source.others)
            if texts and all(_differences(reader, other, open_last) for other in others):
                faults.extend(texts)
            if sentinel1 is not None and source.paired is not None:
                faults.extend(_backscatter_differences(reader, source.row, source.paired, sentinel1))
            on_row(k)
    return faults


def _differences(reader: StoreReader, source: SourceRow, open_product: Callable[..., OpenProduct]) -> list[str]:
    """How a row differs from its source at `source.path`, or why it cannot be compared; empty if it is the same."""
    name, images, texts = reader.row_name(source.row), reader.schema.images, list[str]()
    try:
        parts = reader.row(source.row)
        if images is not None:
            texts += _compare(f"{name}: {IMAGES}", images.bands, parts[0], _read_image(source, images))
        native = () if images else zip(GROUPS, parts, strict=False)  # data_super is not in the source
        for group, stored in native:
            product, files = (
                open_product(source.path, source.assume_offset, source.links) if source.tiled else (None, {})
            )
            pixels = _read(source, group, product, files)
            texts += _compare(f"{name}: data_{group.name}", group.bands, stored, pixels)
    except (RasterError, ProductError, DamagedStoreError) as error:
        texts.append(f"{name}: {error}")
    except Exception as error:  # one row must not end the check of all
        texts.append(f"{name}: {source.path} cannot be read: {fault_text(error)}")
    return texts


def _backscatter_differences(
    reader: StoreReader, row: int, paired: PairedPatch, sentinel1: Sentinel1Patches
) -> Sequence[str]:
    """How `data_s1` of a row differs from its patch of Sentinel-1, or why it cannot be compared."""
    name, planes = reader.row_name(row), sentinel1.read(paired)
    if isinstance(planes, PatchError):
        return [f"{name}: {planes}"]
    try:
        stored = reader.read(SENTINEL1, np.array([row]))[0]
    except DamagedStoreError as error:
        return [f"{name}: {error}"]
    return _compare(f"{name}: {SENTINEL1}", SENTINEL1_GROUP.bands, stored, planes.transpose(1, 2, 0))


def _open_product(path: Path, assume_offset: int | None, links: Links) -> OpenProduct:
    """A product, and an empty dictionary for its open files by band."""
    if not can_exist(path):
        raise ProductError(f"product {path.name} must be below --source, it is not")
    return read_product(path, assume_offset, links), {}


def _open_band_file(source: SourceRow, band: str) -> RasterFile:
    """The file of a band of a patch in a patch archive."""
    name = f"{source.path / source.path.name}_{band}.tif"
    if source.packed is None:
        return RasterFile(check_link(name, source.links))
    try:
        return RasterFile(name, content=source.packed.read(f"_{band}.tif"))
    except OSError as error:
        raise RasterError(str(error)) from None


def _read(
    source: SourceRow, group: Group, product: Product | None, files: dict[str, OpenBand]
) -> npt.NDArray[np.uint16]:
    """The patch's pixels of one group, shape (row, col, band), on the store's scale."""
    out = np.empty((group.patch_px, group.patch_px, len(group.bands)), np.uint16)
    for k, band in enumerate(group.bands):
        if product is None:
            file: OpenBand = _open_band_file(source, band)
            default, lut = Georeference(source.epsg, *source.corner, group.gsd_m), None
        else:
            if band not in files:
                files[band] = file = open_band(product, band)
                if isinstance(file, RemoteImage):
                    file.keep(_KEPT_TILES)
            file, grid = files[band], product.grid
            default = Georeference(grid.epsg, grid.ulx, grid.uly, group.gsd_m)
            lut = lookup_table(product.offsets[band], product.quantification)
        file.read(_window(file, source, file.georeference or default, group), out[..., k])
        out[..., k] = out[..., k] if lut is None else lut[out[..., k]]
    return out


def _read_image(source: SourceRow, group: PixelGroup) -> npt.NDArray[Any]:
    """Pixels of an image file, shape (row, col, band)."""
    out = np.empty((len(group.bands), *group.size_px), group.dtype)
    read_image(source.path, group, out, source.links)
    return out.transpose(1, 2, 0)


def _window(file: OpenBand, source: SourceRow, georeference: Georeference, group: Group) -> PixelWindow:
    """Window of the patch in a file with this georeference."""
    side, (ulx, uly) = group.patch_px, source.corner
    row, column = (georeference.uly - uly) / group.gsd_m, (ulx - georeference.ulx) / group.gsd_m
    inside = 0 <= row <= file.shape[0] - side and 0 <= column <= file.shape[1] - side
    if georeference.epsg != source.epsg or georeference.gsd_m != group.gsd_m or row % 1 or column % 1 or not inside:
        raise RasterError(
            f"{file.path} must hold EPSG:{source.epsg} {ulx:.0f}, {uly:.0f} in pixels of {group.gsd_m} m, "
            f"got {file.shape[0]} x {file.shape[1]} pixels of {georeference.gsd_m} m from EPSG:{georeference.epsg} "
            f"{georeference.ulx:.0f}, {georeference.uly:.0f}"
        )
    return PixelWindow(int(row), int(column), side, side)


def _compare(name: str, bands: Sequence[str], stored: npt.NDArray[Any], source: npt.NDArray[Any]) -> list[str]:
    """In which bands, and how, a row's stored pixels differ from those of the source."""
    texts, bits = [], f"u{stored.dtype.itemsize}"  # NaN equals itself
    for k, band in enumerate(bands):
        differing = np.argwhere(stored[..., k].view(bits) != source[..., k].view(bits))
        if len(differing):
            row, col = differing[0].tolist()
            texts.append(
                f"{name} {band} differs in {len(differing)} pixels, first at ({row}, {col}): "
                f"store {stored[row, col, k]}, source {source[row, col, k]}"
            )
    return texts
