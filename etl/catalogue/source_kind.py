"""Detect what a source of patch lists is by looking at it: which of the published forms, and which files."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from etl.catalogue.bigearthnet_v1 import V1_METADATA_SUFFIX
from etl.catalogue.finder import find_products
from etl.catalogue.lists import PRODUCT_LIST, find_lists
from etl.catalogue.names import is_patch, is_product, parse_patch

__all__ = ["SOURCE_KINDS", "CatalogueSource", "detect_source", "find_v2_tables"]

_log = logging.getLogger(__name__)

SOURCE_KINDS = {
    "v1": "a folder of BigEarthNet v1 patches",
    "lists": f"a folder of published lists with {PRODUCT_LIST}.csv",
    "v2": "metadata of BigEarthNet v2",
    "catalogue": "a catalogue",
    "products": "Sentinel-2 products without a list, so every cell of their grids",
    "v2 folder": "a folder of BigEarthNet v2 patches without their metadata",
}
"""What a source can be, the likelier first: where several fit, the first is taken."""


@dataclass(frozen=True, slots=True)
class CatalogueSource:
    """One source of patches."""

    kind: str
    """One of SOURCE_KINDS."""

    path: Path
    """The source as it was named."""

    files: tuple[Path, ...] = ()
    """Tables or products that belong to it; empty for folders of patches and of lists."""

    patches: tuple[str, ...] = ()
    """Names of the patches, sorted; empty unless it is a folder of patches."""

    unused: tuple[str, ...] = ()
    """What else was found there and is not used, in words."""


def detect_source(path: Path) -> CatalogueSource:
    """What `path` is, also logged; a folder is listed once, and its patches are not opened.

    Raises:
        ValueError: it is absent, or none of what a source can be.
    """
    if not path.exists():
        raise ValueError(f"source must exist, got {path}; it can be {_all_kinds()}")
    if _is_product_path(path):
        source = CatalogueSource("products", path, (path,))
    elif path.is_dir():
        source = _detect_folder(path)
    elif path.suffix == ".zip":
        source = CatalogueSource("products", path, (path,))
    else:
        source = CatalogueSource(_table_kind(path, required=True), path, (path,))
    _log.info("%s is %s", path, SOURCE_KINDS[source.kind])
    for other in source.unused:
        _log.warning("%s also holds %s; that is not used", path, other)
    return source


def find_v2_tables(folder: Path) -> tuple[Path, ...]:
    """Metadata tables of BigEarthNet v2 in `folder`, one row a patch; none where the folder is absent."""
    return tuple(path for path in sorted(folder.glob("*.parquet")) if _table_kind(path) == "v2")


def _detect_folder(path: Path) -> CatalogueSource:
    """What a folder holds: names tell patches, products and lists apart, only tables are opened."""
    patches, folders, tables, products = list[str](), list[Path](), list[Path](), list[Path]()
    with os.scandir(path) as entries:  # one pass over up to half a million entries
        for entry in entries:
            if is_patch(entry.name):
                patches.append(entry.name)
            elif entry.name.endswith((".SAFE", ".zip")):
                products.append(Path(entry.path))
            elif entry.name.endswith(".parquet"):
                tables.append(Path(entry.path))
            elif entry.is_dir():
                folders.append(Path(entry.path))
    patches.sort()
    kinds = {table: _table_kind(table) for table in sorted(tables)}
    found: dict[str, tuple[Path | str, ...]] = {
        "v1" if _are_v1(path, patches) else "v2 folder": tuple(patches),
        "lists": tuple(file for name, file in find_lists(path).items() if name == PRODUCT_LIST),
        "v2": tuple(table for table, kind in kinds.items() if kind == "v2"),
        "catalogue": tuple(table for table, kind in kinds.items() if kind == "catalogue"),
        "products": tuple(sorted(products)),
    }
    if not any(found.values()):
        below = sorted(product for folder in folders for product in find_products(folder, any_name=True))
        found = {"products": tuple(below), "v2 folder": tuple(sorted(_v2_patches(folders)))}
    unnamed = sorted(folder.name for folder in folders) if patches else []
    return _likeliest(path, {kind: items for kind, items in found.items() if items}, unnamed)


def _likeliest(path: Path, found: dict[str, tuple[Path | str, ...]], unnamed: list[str]) -> CatalogueSource:
    """The first of SOURCE_KINDS that was found; `unnamed` are folders among patches that are no patches."""
    kinds = [kind for kind in SOURCE_KINDS if kind in found]
    if not kinds:
        raise ValueError(f"{path} holds no patches, products or lists; a source can be {_all_kinds()}")
    items = found[kinds[0]]
    files = tuple(item for item in items if isinstance(item, Path))
    if kinds[0] == "catalogue" and len(files) > 1:
        raise ValueError(f"source must be one catalogue, but {path} holds {', '.join(file.name for file in files)}")
    patches = tuple(item for item in items if isinstance(item, str))
    unused = [SOURCE_KINDS[kind] for kind in kinds[1:]]
    if unnamed:
        unused.append(f"{len(unnamed)} folders that are not named like a patch, such as {unnamed[0]}")
    return CatalogueSource(kinds[0], path, files, patches, tuple(unused))


def _are_v1(path: Path, patches: list[str]) -> bool:
    """Whether these are patches of v1: by the form of the names or, of other names, by the first one's JSON file."""
    # only names of version 2 hold a tile
    if not patches or parse_patch(patches[0]).product.tile == "":
        return True
    return (path / patches[0] / f"{patches[0]}{V1_METADATA_SUFFIX}").is_file()


def _v2_patches(folders: list[Path]) -> list[str]:
    """Names of the patches in folders of BigEarthNet v2, one folder a product."""
    products = [folder for folder in folders if is_product(folder.name)]
    return [path.name for folder in products for path in folder.iterdir() if is_patch(path.name)]


def _table_kind(path: Path, required: bool = False) -> str:
    """What a Parquet file is: `v2`, `catalogue`, or empty where it is neither (an error where `required`)."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        if required:
            raise ValueError(f"{path} must be Parquet or a zipped product: {str(error).splitlines()[0]}") from None
        return ""
    # the column with the patches' names tells the published tables from a catalogue
    kind = "v2" if "patch_id" in names else "catalogue" if "patch" in names else ""
    if required and not kind:
        raise ValueError(f"{path}: column patch (or patch_id, in version 2) must be there; it has {', '.join(names)}")
    return kind


def _is_product_path(path: Path) -> bool:
    return path.name.endswith(".SAFE") or (path.is_dir() and (path / "GRANULE").is_dir())


def _all_kinds() -> str:
    return "; or ".join(SOURCE_KINDS.values())
