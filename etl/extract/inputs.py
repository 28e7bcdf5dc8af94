"""Inputs of an extraction: patches of the catalogue, the matching products, and which patches cannot be extracted.

Rank 0 reads the catalogue and finds the products; each rank opens a part of the products.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from etl.bucket_files import can_exist, is_remote
from etl.catalogue.finder import FoundProduct, PatchLocator, find_products, index_products, matching_products
from etl.extract.candidates import (
    Candidates,
    PassedOver,
    keep_usable,
    served_by,
)
from etl.extract.image_files import detect_images
from etl.extract.settings import ExtractSettings
from etl.extract.upsampling import choose_method
from etl.heartbeat import now_doing
from etl.input_files import Links
from etl.mpi import Comm, RootOnly
from etl.pixel_groups import PixelGroup
from etl.plural import counted
from etl.schema import SENTINEL1_VERSION, UNWRITTEN, Schema
from etl.source.content import ProductContent
from etl.source.inspection import ProductInspection, inspect_product
from etl.source.sentinel1 import Sentinel1Folders, find_sentinel1
from etl.source.unit_guard import UnitGuard
from etl.source.warning import log_warnings
from etl.store.backend import backend_of
from etl.store.interface import Backend
from etl.store.lock import StoreLock
from etl.tar_archive import PackedLocator
from etl.upsample.method import UpsampleMethod

if TYPE_CHECKING:
    from etl.catalogue.table import Catalogue

__all__ = [
    "CatalogueSelection",
    "ExtractionInputs",
    "fingerprint_of",
    "first_candidates",
    "initial_columns",
    "inspect_inputs",
    "listed_products",
    "pass_over_unusable",
]

log = logging.getLogger("etl.extract")


@dataclass(frozen=True, slots=True, eq=False)
class CatalogueSelection:
    """Patches of the catalogue that are to be extracted, and the files with their pixels; rank 0 alone has it."""

    catalogue: "Catalogue"
    """Selected patches in store order: row k of the store is entry k."""

    product_index: npt.NDArray[np.intp]
    """Index into `listed_products` of each patch, shape (patch,)."""

    listed_products: tuple[str, ...]
    """Names of the products under which the patches are listed, in store order."""

    products: tuple[FoundProduct, ...]
    """Products on disk of the acquisitions listed, each once, in store order; empty for a patch archive."""

    candidates: Candidates
    """By listed product: numbers of `products` of its acquisition, best first; for a patch archive its own number."""

    patch_folder: PatchLocator | PackedLocator | None
    """Folder of a patch in a patch archive, or its place in a tar file, by name; None if the source holds others."""

    links: Links
    """Where links in the source may lead."""

    images: PixelGroup | None = None
    """The bands of the image files; None if the source holds none."""

    sentinel1: Sentinel1Folders | None = None
    """Folder of a patch of Sentinel-1 by its name; None if they are not wanted."""

    contents: Sequence[ProductContent] = ()
    """Files of each of `products`, once they are known; empty for a patch archive."""


@dataclass(frozen=True, slots=True, eq=False)
class ExtractionInputs:
    """What is known before anything is written; the same on every rank."""

    settings: ExtractSettings
    method: UpsampleMethod
    inspections: list[ProductInspection]
    """By product on disk, as `CatalogueSelection.products`; of a patch archive by listed product."""
    candidates: Candidates
    """By listed product: numbers of those of `inspections` of its acquisition, best first.

    After `pass_over_unusable` those that can serve, or the first with its problem; in a resumed run only those with
    which the store was begun."""
    schema: Schema
    is_archive: bool
    """Whether the source is a patch archive, with twelve files a patch or one image file, instead of products."""
    links: Links
    """Where links in the source may lead."""
    store: Backend
    """The store at --out."""
    guard: UnitGuard = field(default_factory=UnitGuard)
    """Limits the time for a block, and refuses what earlier runs hung at."""
    lock: StoreLock | None = None
    """This rank's lock of the store, once it is held."""

    @property
    def passes(self) -> int:
        """Most products that a patch may have to be read from, one after another; the same on every rank."""
        return max(map(len, self.candidates), default=1)


def inspect_inputs(
    settings: ExtractSettings, guard: UnitGuard, comm: Comm
) -> tuple[ExtractionInputs, RootOnly[CatalogueSelection]]:
    """Collective: read the catalogue on rank 0, find its products, and inspect them on all ranks, watched by `guard`.

    Raises:
        JobError: on every rank, with status 2, if catalogue, source or weights cannot be used.
    """
    selection = RootOnly(comm, lambda: select_patches(settings))
    has_images = selection.bcast(lambda chosen: chosen.images is not None)
    method = UpsampleMethod("none") if has_images else choose_method(settings, comm)
    products = selection.bcast(lambda chosen: [(item.path, item.stem, item.links) for item in chosen.products])
    found, archive = selection.bcast(
        lambda chosen: (chosen.candidates, chosen.listed_products if chosen.patch_folder or chosen.images else ())
    )
    if archive:  # nothing to open: each patch has its own files
        inspections = [ProductInspection(None, name) for name in archive]
    else:  # each rank opens every `comm.size`-th product
        own = products[comm.rank :: comm.size]
        parts = comm.allgather(
            [
                inspect_product(path, name, method.halo_px, settings.assume_offset, links, guard)
                for path, name, links in own
            ]
        )
        inspections = [parts[k % comm.size][k // comm.size] for k in range(len(products))]
        selection.apply_on_root(lambda _: log_warnings(log, (item for each in inspections for item in each.warnings)))
    schema = selection.bcast(lambda chosen: _schema_for(chosen, inspections, method.name != "none"))
    links, store = selection.bcast(lambda chosen: chosen.links), backend_of(settings.out, settings.layout)
    return ExtractionInputs(settings, method, inspections, found, schema, bool(archive), links, store, guard), selection


def pass_over_unusable(inputs: ExtractionInputs) -> tuple[ExtractionInputs, PassedOver]:
    """The inputs with only those candidates that can serve, and why others cannot.

    Without this their products can have problems.
    """
    kept = [keep_usable(numbers, inputs.inspections) for numbers in inputs.candidates]
    return replace(inputs, candidates=tuple(usable for usable, _ in kept)), [over for _, over in kept]


def select_patches(settings: ExtractSettings) -> CatalogueSelection:
    """Read the catalogue and find the matching products, or patch folders, in the source.

    Raises:
        ValueError: catalogue or source is absent, empty or of another kind.
    """
    now_doing(f"reading {settings.catalogue}")
    catalogue, source = _read_catalogue(settings), settings.source
    now_doing(f"searching {source}")
    sentinel1 = _find_sentinel1(settings, catalogue)
    names, product_index = listed_products(catalogue.product)
    if not can_exist(source):
        raise ValueError(f"--source must be a folder of products or patches, got {source}, which does not exist")
    links = Links.into(source, *settings.allow_links)
    images = None if is_remote(source) else detect_images(settings, catalogue, links)
    if images is not None:
        own = tuple((k,) for k in range(len(names)))
        return CatalogueSelection(catalogue, product_index, names, (), own, None, links, images)
    found = find_products(source, settings.allow_links)
    if found.products:
        index = index_products(found.products)
        matching = [matching_products(name, index) for name in names]
        unique = {product.path: product for products in matching for product in products}
        number = {path: k for k, path in enumerate(unique)}
        candidates = tuple(tuple(number[product.path] for product in products) for products in matching)
        products = tuple(unique.values())
        return CatalogueSelection(
            catalogue, product_index, names, products, candidates, None, links, sentinel1=sentinel1
        )
    folder = found.folder_of
    if folder is None or not any(folder.holds(name.decode()) for name in catalogue.patch):
        raise ValueError(
            "--source must hold products (.SAFE, .zarr, .zip), or the catalogue's patches in folders or a .tar file, "
            f"got {source}{found.hint}"
        )
    own = tuple((k,) for k in range(len(names)))
    return CatalogueSelection(catalogue, product_index, names, (), own, folder, links, sentinel1=sentinel1)


def _find_sentinel1(settings: ExtractSettings, catalogue: "Catalogue") -> Sentinel1Folders | None:
    """Where the patches of Sentinel-1 are, if they are wanted.

    Raises:
        ValueError: the catalogue names none, or none of them is there.
    """
    if settings.sentinel1 is None or catalogue.s1_name is None:
        return None
    if catalogue.is_images:
        raise ValueError("--sentinel1 needs a catalogue of Sentinel-2 patches, got one of image files")
    folders = find_sentinel1(settings.sentinel1, (name.decode() for name in catalogue.s1_name.tolist()))
    named = int((catalogue.s1_name != b"").sum())
    log.info("%d of %s have a patch of Sentinel-1 in the catalogue", named, counted(len(catalogue), "patch"))
    return folders


def listed_products(products: npt.NDArray[np.bytes_]) -> tuple[tuple[str, ...], npt.NDArray[np.intp]]:
    """Different names among `products`, shape (patch,), by first appearance; and the number of each patch's name."""
    starts = np.flatnonzero(np.append(True, products[1:] != products[:-1]))  # neighbours mostly have the same one
    unique_names, first, index = np.unique(products[starts], return_index=True, return_inverse=True)
    order = np.argsort(first)  # np.unique sorts by name, the store by first appearance
    numbers = np.argsort(order)[index].astype(np.intp)
    return tuple(unique_names[k].decode() for k in order), np.repeat(numbers, np.diff(np.append(starts, len(products))))


def _read_catalogue(settings: ExtractSettings) -> "Catalogue":
    """Read the catalogue and leave out patches under snow or cloud, unless the settings keep them."""
    from etl.catalogue.table import read_catalogue  # on rank 0 alone: pyarrow takes 40 MiB

    try:
        with_sentinel1 = settings.sentinel1 is not None
        catalogue = read_catalogue(settings.catalogue, settings.keep_snow, settings.keep_cloud, with_sentinel1)
        rows = len(catalogue) or len(read_catalogue(settings.catalogue))
    except (OSError, ValueError) as error:
        raise ValueError(f"{error}; make it with python -m etl.catalogue") from None
    if not len(catalogue):
        raise ValueError(
            f"all {rows} patches of {settings.catalogue} are marked as snow or cloud; "
            "--keep-snow and --keep-cloud extract them"
        )
    return catalogue


def first_candidates(inputs: ExtractionInputs, selection: CatalogueSelection) -> list[ProductInspection]:
    """Best candidate of each of `selection.listed_products`; where none can serve it, its name and why."""
    first = []
    for numbers, listed in zip(inputs.candidates, selection.listed_products, strict=True):
        inspection = inputs.inspections[numbers[0]] if numbers else None
        problem = inspection.problem if inspection else f"no Level-2A product on disk serves {listed}"
        opened = inspection and (inspection.product or not problem)  # also a product whose files are damaged
        first.append(inspection if inspection and opened else ProductInspection(None, listed, problem=problem))
    return first


def _schema_for(selection: CatalogueSelection, inspections: Sequence[ProductInspection], upsampled: bool) -> Schema:
    """Schema of the store."""
    catalogue = selection.catalogue
    patch_bytes = max(1, catalogue.patch.dtype.itemsize)  # HDF5 has no strings of 0 bytes
    names = [*selection.listed_products, *(inspection.name for inspection in inspections)]
    product_bytes = max(80, *(len(name.encode(errors="backslashreplace")) for name in names))
    schema = Schema(
        len(catalogue), catalogue.class_names, upsampled, patch_bytes, product_bytes, images=selection.images
    )
    if selection.sentinel1 is None or catalogue.s1_name is None:
        return schema
    return replace(schema, version=SENTINEL1_VERSION, sentinel1_bytes=max(1, catalogue.s1_name.dtype.itemsize))


def initial_columns(inputs: ExtractionInputs, selection: CatalogueSelection) -> dict[str, npt.NDArray[Any]]:
    """Columns that are known before any pixel is read, by array name, shape (patch, ...)."""
    catalogue, product_index = selection.catalogue, selection.product_index
    served = np.array([served_by(item) for item in first_candidates(inputs, selection)], "S").reshape(-1, 2)
    product, rows = served[:, 0].astype(f"S{inputs.schema.product_bytes}"), len(catalogue)
    return {
        **{name: getattr(catalogue, name) for name in ("patch", "tile", "epsg", "ulx", "uly", "split", "classes")},
        **({"s1_name": catalogue.s1_name} if inputs.schema.sentinel1_bytes else {}),
        "product": product[product_index],
        "baseline": served[:, 1].astype("S5")[product_index],
        "acquired": catalogue.acquired.astype("datetime64[s]").astype(np.int64),
        "state": np.full(rows, UNWRITTEN, np.uint8),
        "checksum": np.zeros(rows, np.uint64),
        **{f"{name}_share": np.full(rows, np.nan, np.float32) for name in ("nodata", "cloud", "snow")},
    }


def fingerprint_of(settings: ExtractSettings, selection: CatalogueSelection, method: UpsampleMethod) -> dict[str, Any]:
    """Settings and input hashes that decide the store's content, for the journal; a resumed run must have the same."""
    networks = {"weights": [network.sha256 for network in method.networks], "precision": method.precision}
    catalogue = selection.catalogue
    digest = hashlib.sha256()
    for name in ("patch", "product", "ulx", "uly", "split", "classes"):
        digest.update(np.ascontiguousarray(getattr(catalogue, name)).tobytes())
    return {
        "rows": len(catalogue),
        "catalogue_sha256": digest.hexdigest(),
        "source": "images" if selection.images else "patches" if selection.patch_folder else "tiles",
        **({"classes": list(catalogue.class_names), **selection.images.to_record()} if selection.images else {}),
        "upsample": method.name,
        **(networks if method.networks else {}),
        "max_cloud_share": settings.max_cloud_share,
        "max_snow_share": settings.max_snow_share,
        # only where set: journals of older versions do not have them
        **({} if catalogue.s1_name is None else {"sentinel1": hashlib.sha256(catalogue.s1_name).hexdigest()}),
        **({"max_nodata_share": settings.max_nodata_share} if settings.max_nodata_share < 1 else {}),
        **({"keep_unclassified": True} if settings.keep_unclassified else {}),
        **({} if settings.assume_offset is None else {"assume_offset": settings.assume_offset}),
    }
