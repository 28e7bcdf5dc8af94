"""Detect what a source of patch lists is by looking at it: which of the published forms, and which files."""

import logging
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
"""Kinds of sources, the likelier first: if several fit, the first is taken."""

_ALL_KINDS = "; or ".join(SOURCE_KINDS.values())


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
        raise ValueError(f"--source {path} does not exist; it can be {_ALL_KINDS}")
    is_zip = path.suffix == ".zip" and not path.is_dir()
    if is_zip or path.name.endswith(".SAFE") or (path / "GRANULE").is_dir():
        source = CatalogueSource("products", path, (path,))
    elif path.is_dir():
        source = _detect_folder(path)
    else:
        source = CatalogueSource(_table_kind(path, required=True), path, (path,))
    _log.info("%s is %s", path, SOURCE_KINDS[source.kind])
    for other in source.unused:
        _log.warning("%s also holds %s; that is not used", path, other)
    return source


def find_v2_tables(folder: Path) -> tuple[Path, ...]:
    """Metadata tables of BigEarthNet v2 in `folder`, one row a patch; none if the folder is absent."""
    return tuple(path for path in sorted(folder.glob("*.parquet")) if _table_kind(path) == "v2")


def _detect_folder(path: Path) -> CatalogueSource:
    """Kind and content of a folder; patches, products and lists are known by name, only tables are opened."""
    by_kind, folders = defaultdict[str, list[Any]](list), list[Path]()
    with os.scandir(path) as entries:  # one pass over up to half a million entries
        for entry in entries:
            if is_patch(entry.name):
                by_kind["v1"].append(entry.name)
            elif entry.name.endswith((".SAFE", ".zip")):
                by_kind["products"].append(Path(entry.path))
            elif entry.name.endswith(".parquet"):
                by_kind[_table_kind(Path(entry.path))].append(Path(entry.path))
            elif entry.is_dir():
                folders.append(Path(entry.path))
    by_kind["lists"] = [file for name, file in find_lists(path).items() if name == PRODUCT_LIST]
    # folders among patches that are no patches
    unnamed = sorted(folder.name for folder in folders) if by_kind["v1"] else []
    if by_kind["v1"] and not _is_v1(path, min(by_kind["v1"])):
        by_kind["v2 folder"] = by_kind.pop("v1")
    if not any(by_kind[kind] for kind in SOURCE_KINDS):
        by_kind["products"] = [product for folder in folders for product in find_products(folder, any_name=True)]
        by_kind["v2 folder"] = _v2_patches(folders)
    kinds = [kind for kind in SOURCE_KINDS if by_kind[kind]]
    if not kinds:
        raise ValueError(f"{path} holds no patches, products or lists; a source can be {_ALL_KINDS}")
    items = tuple(sorted(by_kind[kinds[0]]))
    if kinds[0] == "catalogue" and len(items) > 1:
        raise ValueError(f"--source must be one catalogue, but {path} holds {', '.join(file.name for file in items)}")
    unused = [SOURCE_KINDS[kind] for kind in kinds[1:]]
    if unnamed:
        unused.append(f"{len(unnamed)} folders that are not named like a patch, such as {unnamed[0]}")
    files, patches = ((), items) if kinds[0] in ("v1", "v2 folder") else (items, ())
    return CatalogueSource(kinds[0], path, files, patches, tuple(unused))


def _is_v1(path: Path, patch: str) -> bool:
    """Whether this is a patch of v1: by the form of its name or, of other names, by its JSON file."""
    # only names of version 2 hold a tile
    return not parse_patch(patch).product.tile or (path / patch / f"{patch}{V1_METADATA_SUFFIX}").is_file()


def _v2_patches(folders: list[Path]) -> list[str]:
    """Names of the patches in folders of BigEarthNet v2, one folder a product."""
    products = [folder for folder in folders if is_product(folder.name)]
    return [path.name for folder in products for path in folder.iterdir() if is_patch(path.name)]


def _table_kind(path: Path, required: bool = False) -> str:
    """Kind of a Parquet file: `v2`, `catalogue`, or empty if it is neither (an error if `required`)."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        if required:
            raise ValueError(f"{path} must be Parquet or a zipped product: {str(error).splitlines()[0]}") from None
        return ""
    # the column of patch names is called patch_id in the published tables
    kind = "v2" if "patch_id" in names else "catalogue" if "patch" in names else ""
    if required and not kind:
        raise ValueError(f"{path}: column patch (or patch_id, in version 2) must be there; it has {', '.join(names)}")
    return kind
