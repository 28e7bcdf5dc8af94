"""Detect what a source of patch lists is by looking at it: which of the published forms, and which files."""

import logging
import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from etl.bucket_files import is_remote
from etl.catalogue.bigearthnet_v1 import has_description
from etl.catalogue.finder import FoundInputs, FoundProduct, PatchLocator, collect_inputs, find_products
from etl.catalogue.images import PATH_COLUMNS, has_class_folders, names_images
from etl.catalogue.lists import PRODUCT_LIST, find_lists
from etl.catalogue.parquet_file import checked_table
from etl.catalogue.search import is_zip
from etl.input_files import NO_LINKS, Links, require_regular, walk_folders
from etl.tar_archive import PackedLocator, compressed_tar_advice, is_tar

__all__ = ["SOURCE_KINDS", "CatalogueSource", "detect_source", "find_v2_tables"]

_log = logging.getLogger(__name__)

SOURCE_KINDS = {
    "v1": "a folder or tar file of BigEarthNet v1 patches",
    "lists": f"a folder of published lists with {PRODUCT_LIST}.csv",
    "v2": "metadata of BigEarthNet v2",
    "catalogue": "a catalogue",
    "products": "Sentinel-2 products without a list, so every cell of their grids",
    "v2 folder": "a folder or tar file of BigEarthNet v2 patches without their metadata",
    "image table": f"a table (CSV or Parquet) of image files with a column {', '.join(PATH_COLUMNS)}",
    "class folders": "a folder of image files, with a folder for each class",
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
    """Tables that belong to it; empty for products, folders of patches and of lists."""

    products: tuple[FoundProduct, ...] = ()
    """Products, in order of path; empty for all else."""

    patches: tuple[str, ...] = ()
    """Names of the patches, sorted; empty unless it is a folder of patches."""

    folder_of: PatchLocator | PackedLocator | None = None
    """Folder of each of `patches`, or its place in a tar file; None unless it is a folder or tar file of patches."""

    passed_over: tuple[tuple[Path, str], ...] = ()
    """(path, reason) of what looks like a product or patch, but cannot be used."""

    links: Links = NO_LINKS
    """Where links in it may lead."""

    unused: tuple[str, ...] = ()
    """What else was found there and is not used, in words."""


def detect_source(path: Path, allow_links: Sequence[Path] = ()) -> CatalogueSource:
    """What `path` is, also logged; a folder is listed once, and its patches are not opened.

    Links in it may lead below it, or below one of `allow_links`.

    Raises:
        ValueError: it is absent, or none of what a source can be.
    """
    if is_remote(path):
        source = _source_of(find_products(path), {})
    elif not path.exists():
        raise ValueError(f"--source {path} does not exist; it can be {_ALL_KINDS}")
    elif path.is_dir():
        source = _detect_folder(path, Links.into(path, *allow_links))
    else:
        _require_file(path)
        if is_zip(path.name) or is_tar(path) or compressed_tar_advice(path) or zipfile.is_zipfile(path):
            source = _source_of(find_products(path), {})
        else:
            source = CatalogueSource(_table_kind(path, required=True), path, (path,))
    _log.info("%s is %s", path, SOURCE_KINDS[source.kind])
    for other in source.unused:
        _log.warning("%s also holds %s; that is not used", path, other)
    return source


def _require_file(path: Path) -> None:
    try:
        require_regular(path)
    except OSError as error:
        raise ValueError(f"--source {error}") from None


def find_v2_tables(folder: Path, links: Links) -> tuple[Path, ...]:
    """Metadata tables of BigEarthNet v2 in `folder`, one row a patch; none if the folder is absent."""
    return tuple(path for path in sorted(folder.glob("*.parquet")) if _table_kind(path, links) == "v2")


def _detect_folder(path: Path, links: Links) -> CatalogueSource:
    """Kind and content of a folder; patches, products and lists are known by name, only tables are opened.

    Folders in it are searched only if it holds no tables or lists itself.
    """
    refused = dict[Path, str]()
    walk = walk_folders(path, links, refused)
    top = next(walk, (path, [], []))
    tables = defaultdict[str, list[Path]](list)
    for file in sorted(path / name for name in top[2] if name.endswith(".parquet")):
        tables[_table_kind(file, links)].append(file)
    tables["lists"] = [file for name, file in find_lists(path, top[2]).items() if name == PRODUCT_LIST]
    listed = any(tables[kind] for kind in ("lists", "v2", "catalogue"))
    found = collect_inputs(path, [top] if listed else chain([top], walk), links, refused)
    found.log()
    return _source_of(found, tables)


def _source_of(found: FoundInputs, tables: Mapping[str, Sequence[Path]]) -> CatalogueSource:
    """The likeliest kind of source, with what belongs to it, of a folder's content and tables or a product's file."""
    path, by_kind = found.folder, defaultdict[str, Sequence[Any]](tuple, tables)
    by_kind |= {"products": found.products, **_patches_by_kind(found)}
    kinds = [kind for kind in SOURCE_KINDS if by_kind[kind]]
    if not kinds and path.is_dir() and has_class_folders(path):
        others = tuple(f"{file.name}, a table that can be the --source itself" for file in sorted(path.glob("*.csv")))
        return CatalogueSource("class folders", path, unused=others)
    if not kinds:
        raise ValueError(f"{path} holds no patches, products or lists; a source can be {_ALL_KINDS}{found.hint}")
    kind, items = kinds[0], tuple(by_kind[kinds[0]])
    if kind == "catalogue" and len(items) > 1:
        raise ValueError(f"--source must be one catalogue, but {path} holds {', '.join(file.name for file in items)}")
    unused = tuple(SOURCE_KINDS[other] for other in kinds[1:])
    base = CatalogueSource(kind, path, passed_over=found.passed_over, links=found.links, unused=unused)
    if kind in ("v1", "v2 folder"):
        return replace(base, patches=items, folder_of=found.folder_of)
    return replace(base, products=items) if kind == "products" else replace(base, files=items)


def _patches_by_kind(found: FoundInputs) -> dict[str, tuple[str, ...]]:
    """Patches of v1 and of v2, by the form of their names; all are of v1 if those of other form have JSON files."""
    if found.folder_of is None:
        return {}
    # only names of version 2 have baseline, orbit and tile; to parse half a million names takes seconds
    tiled = tuple(name for name in found.patches if name.count("_") > 4)
    if not tiled or has_description(found.folder_of(tiled[0])):
        return {"v1": found.patches}
    return {"v1": tuple(sorted(set(found.patches).difference(tiled))), "v2 folder": tiled}


def _table_kind(path: Path, links: Links = NO_LINKS, *, required: bool = False) -> str:
    """Kind of a table: `v2`, `catalogue`, `image table`, or empty if it is none of them (an error if `required`)."""
    if path.suffix.lower() in (".csv", ".tsv"):
        return "image table"
    try:
        names = pq.read_schema(checked_table(path, links)).names
    except (pa.ArrowException, OSError) as error:
        if required:
            raise ValueError(f"{path} must be Parquet or a zipped product: {str(error).splitlines()[0]}") from None
        return ""
    # the column of patch names is called patch_id in the published tables
    kind = "v2" if "patch_id" in names else "catalogue" if "patch" in names else ""
    if required and not kind and names_images(names):
        return "image table"
    if required and not kind:
        raise ValueError(f"{path}: column patch (or patch_id, in version 2) must be there; it has {', '.join(names)}")
    return kind
