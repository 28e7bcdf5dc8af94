"""What a source of patch lists is, found out by looking at it: which of the published forms, and which files."""

import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from etl.catalogue.lists import PRODUCTS, find_lists
from etl.catalogue.names import is_patch, parse_patch, parse_product
from etl.catalogue.v1 import METADATA

__all__ = ["KINDS", "Origin", "find_origin", "find_v2_tables"]

KINDS = {
    "v1": "a folder of BigEarthNet v1 patches",
    "lists": f"a folder of published lists with {PRODUCTS}.csv",
    "v2": "metadata of BigEarthNet v2",
    "catalogue": "a catalogue",
    "products": "Sentinel-2 products without a list, so every cell of their grids",
    "v2 folder": "a folder of BigEarthNet v2 patches without their metadata",
}
"""What a source can be, the likelier first: where several fit, the first is taken."""


@dataclass(frozen=True, slots=True)
class Origin:
    """One source of patches."""

    kind: str
    """One of KINDS."""

    path: Path
    """The source as it was named."""

    files: tuple[Path, ...]
    """Tables or products that belong to it; empty for folders of patches and of lists."""

    patches: tuple[str, ...]
    """Names of the patches, sorted; empty unless it is a folder of patches."""

    others: tuple[str, ...]
    """What else was found there and is not used, in words."""


def find_origin(path: Path) -> Origin:
    """What `path` is; a folder is listed once, and its patches are not opened.

    Raises:
        ValueError: it is absent, or none of what a source can be.
    """
    if not path.exists():
        raise ValueError(f"source must exist, got {path}; it can be {_kinds()}")
    if path.is_dir() and not _is_product(path):
        return _folder(path)
    if _is_product(path) or path.suffix == ".zip":
        return Origin("products", path, (path,), (), ())
    kind = _table_kind(path, must=True)
    return Origin(kind, path, (path,), (), ())


def find_v2_tables(folder: Path) -> tuple[Path, ...]:
    """Tables of version 2's metadata in `folder`; none where it is absent."""
    return tuple(path for path in sorted(folder.glob("*.parquet")) if _table_kind(path) == "v2")


def _folder(path: Path) -> Origin:
    """What a folder holds; names tell patches, products and lists apart, only tables are looked into."""
    patches, folders, tables, products = list[str](), list[Path](), list[Path](), list[Path]()
    with os.scandir(path) as entries:
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
        "lists": tuple(file for name, file in find_lists(path).items() if name == PRODUCTS),
        "v2": tuple(table for table, kind in kinds.items() if kind == "v2"),
        "catalogue": tuple(table for table, kind in kinds.items() if kind == "catalogue"),
        "products": tuple(sorted(products)),
    }
    if not any(found.values()):
        found = {"products": tuple(_products_below(folders)), "v2 folder": tuple(sorted(_v2_patches(folders)))}
    strangers = [folder.name for folder in folders] if patches else []
    return _likeliest(path, {kind: items for kind, items in found.items() if items}, sorted(strangers))


def _likeliest(path: Path, found: dict[str, tuple[Path | str, ...]], strangers: list[str]) -> Origin:
    here = [kind for kind in KINDS if kind in found]
    if not here:
        raise ValueError(f"{path} holds no patches, products or lists; a source can be {_kinds()}")
    items = found[here[0]]
    files = tuple(item for item in items if isinstance(item, Path))
    if here[0] == "catalogue" and len(files) > 1:
        raise ValueError(f"source must be one catalogue, but {path} holds {', '.join(file.name for file in files)}")
    patches = tuple(item for item in items if isinstance(item, str))
    others = [KINDS[kind] for kind in here[1:]]
    if strangers:
        others.append(f"{len(strangers)} folders that are not named like a patch, such as {strangers[0]}")
    return Origin(here[0], path, files, patches, tuple(others))


def _are_v1(path: Path, patches: list[str]) -> bool:
    """Whether these are patches of version 1: by the form of the names or, of other names, by the first one's JSON."""
    if not patches or parse_patch(patches[0]).product.tile == "":
        return True
    return (path / patches[0] / f"{patches[0]}{METADATA}").is_file()


def _products_below(folders: list[Path]) -> list[Path]:
    """Products further down, without looking into them."""
    found = []
    for folder in folders:
        for root, inside, files in os.walk(folder):
            found += [Path(root, name) for name in (*inside, *files) if name.endswith((".SAFE", ".zip"))]
            inside[:] = [name for name in inside if not name.endswith(".SAFE") and not is_patch(name)]
    return sorted(found)


def _v2_patches(folders: list[Path]) -> list[str]:
    """Names of the patches in version 2's folders, one folder a product."""
    named = [folder for folder in folders if _is_product_name(folder.name)]
    return [path.name for folder in named for path in folder.iterdir() if is_patch(path.name)]


def _table_kind(path: Path, must: bool = False) -> str:
    """What a Parquet file is: `v2`, `catalogue`, or empty where it is neither (an error where it `must` be one)."""
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        if must:
            raise ValueError(f"{path} must be Parquet or a zipped product: {str(error).splitlines()[0]}") from None
        return ""
    kind = "v2" if "patch_id" in names else "catalogue" if "patch" in names else ""
    if must and not kind:
        raise ValueError(f"{path}: column patch (or patch_id, in version 2) must be there; it has {', '.join(names)}")
    return kind


def _is_product(path: Path) -> bool:
    return path.name.endswith(".SAFE") or (path.is_dir() and (path / "GRANULE").is_dir())


def _is_product_name(name: str) -> bool:
    try:
        parse_product(name)
    except ValueError:
        return False
    return True


def _kinds() -> str:
    return "; or ".join(KINDS.values())
