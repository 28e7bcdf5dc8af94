"""The lists published beside BigEarthNet version 1: splits, excluded patches, products, patches of Sentinel-1.

Source: BigEarthNet (`patches_with_*.csv`), its split (`train.csv`, `val.csv`, `test.csv`), and rsim-tu-berlin
bigearthnet-pipeline (`patch_to_l1c_product.csv.gz`). Names of files in upper or lower case, with .csv, .tsv or .txt,
and .gz or not.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from etl.catalogue.columns import SENTINEL1_NAME
from etl.catalogue.coverage import ListCoverage, measure_coverage
from etl.catalogue.georeference import Rejections, drop_rejected, georeference_patches, georeference_products
from etl.catalogue.list_file import read_names, read_names_and_products, read_pairs
from etl.catalogue.table import replace_columns
from etl.input_files import NO_LINKS, Links
from etl.schema import SPLITS

__all__ = ["PRODUCT_LIST", "PublishedLists", "find_lists", "join_lists", "list_patches", "read_lists", "unread_files"]

SNOW_LIST, CLOUD_LIST = "patches_with_seasonal_snow", "patches_with_cloud_and_shadow"
PRODUCT_LIST = "patch_to_l1c_product"
SENTINEL1_LIST = "s1s2_mapping"
"""Names of the lists, without .csv; the list of a split is named like the split."""

_KNOWN = (*SPLITS[1:], SNOW_LIST, CLOUD_LIST, PRODUCT_LIST, SENTINEL1_LIST)
_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".txt", ".txt.gz")
"""Endings of lists; if a list is there with several of them, the first is taken."""

_NAMED_LIKE_A_LIST = re.compile(rf"(?:{'|'.join(_KNOWN)})(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PublishedLists:
    """The lists in a folder; a list that is missing is empty."""

    splits: pa.Table
    """Columns patch and split (train, val or test)."""

    snow: pa.Array
    """Names of the patches with seasonal snow."""

    cloud: pa.Array
    """Names of the patches with cloud or cloud shadow."""

    products: pa.Table
    """Columns patch and product (the Level-1C product that it was cut from)."""

    pairs: pa.Table
    """Columns patch and s1_name (the patch of Sentinel-1)."""

    names: dict[str, pa.Array]
    """The names of patches in each list that was found, by file name."""


def find_lists(folder: Path, files: Iterable[str] | None = None) -> dict[str, Path]:
    """Paths of the known lists in `folder`, by name in lower case without ending.

    `files` are the names of its files, if the caller has listed it: an archive has half a million entries.

    Raises:
        ValueError: the folder is absent.
    """
    if not folder.is_dir():
        raise ValueError(f"--lists must be a folder of published lists, got {folder}, which is none")
    order = {f"{name}{ending}": name for name in _KNOWN for ending in _ENDINGS}
    rank = {file: i for i, file in enumerate(order)}
    # the last of a name stays: the likelier ending, in lower case before upper case
    lists = [name for name in (_texts(folder) if files is None else files) if name.lower() in order]
    lists.sort(key=lambda name: (-rank[name.lower()], name))
    found = {order[name.lower()]: folder / name for name in lists}
    return {name: found[name] for name in _KNOWN if name in found}


def unread_files(folder: Path) -> list[str]:
    """Names of the other files in `folder` that are texts, or are named like a list; the latter first.

    Raises:
        ValueError: the folder is absent.
    """
    read = {path.name for path in find_lists(folder).values()}
    others = [name for name in _texts(folder) if name not in read]
    return sorted(others, key=lambda name: (not _NAMED_LIKE_A_LIST.match(name), name))


def _texts(folder: Path) -> list[str]:
    """Names of files that are texts by their ending, or are named like a list."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if _is_text(entry.name) and not entry.is_dir()]


def _is_text(name: str) -> bool:
    is_named = name.lower().endswith(_ENDINGS) or _NAMED_LIKE_A_LIST.match(name)
    return bool(is_named) and not name.startswith(".")


def read_lists(folder: Path, patches: pa.ChunkedArray | None = None, links: Links = NO_LINKS) -> PublishedLists:
    """The lists in `folder`, one name a patch, as arrays of dtype string.

    Lines in which several names can be read are read as one of `patches`, names of the source. `links`: where links
    in the folder may lead.

    Raises:
        ValueError: there is none, a file is not such a list, or a patch is in two splits.
    """
    files = find_lists(folder)
    if not files:
        others = unread_files(folder)
        unread = f"; not read: {others[0]}" if others else ""
        raise ValueError(f"{folder} must hold at least one of {', '.join(f'{name}.csv' for name in _KNOWN)}{unread}")
    empty = pa.array([], pa.string())
    names = {
        name: read_names(path, patches, links)
        for name, path in files.items()
        if name not in (PRODUCT_LIST, SENTINEL1_LIST)
    }
    listed, product, paired, sentinel1 = empty, empty, empty, empty
    if SENTINEL1_LIST in files:
        paired, sentinel1 = read_pairs(files[SENTINEL1_LIST], patches, links)
        names[SENTINEL1_LIST] = paired
    if PRODUCT_LIST in files:
        listed, product = read_names_and_products(files[PRODUCT_LIST], patches, links)
        names[PRODUCT_LIST] = listed
    return PublishedLists(
        splits=_join_splits({name: names.get(name, empty) for name in SPLITS[1:]}),
        snow=names.get(SNOW_LIST, empty),
        cloud=names.get(CLOUD_LIST, empty),
        products=pa.table([listed, product], names=["patch", "product"]),
        pairs=pa.table([paired, sentinel1], names=["patch", SENTINEL1_NAME]),
        names={files[name].name: column for name, column in names.items()},
    )


def list_patches(lists: PublishedLists) -> tuple[pa.Table, Rejections]:
    """Unlabelled rows of all patches whose product is listed, corners in metres; and (patch, reason) of the others."""
    return georeference_patches(lists.products["patch"], lists.products["product"])


def join_lists(rows: pa.Table, lists: PublishedLists) -> tuple[pa.Table, Rejections, list[ListCoverage]]:
    """`rows` with the lists joined, (patch, reason) of those whose product's name is invalid, and what each list names.

    The list of products is authoritative for product, tile and acquisition; corners (in metres) stay as they were. A
    split comes from the lists if they name the patch; `snow` and `cloud` are true if the rows or the lists say so.
    """
    patch = rows["patch"]
    snow, cloud = (pc.is_in(patch, value_set=names) for names in (lists.snow, lists.cloud))
    in_splits, in_products, in_pairs = (
        pc.index_in(patch, value_set=table["patch"].combine_chunks())
        for table in (lists.splits, lists.products, lists.pairs)
    )
    product = lists.products["product"].take(in_products)
    tiles = georeference_products(product)
    columns = {
        "split": pc.coalesce(lists.splits["split"].take(in_splits), rows["split"]),
        "snow": pc.or_(rows["snow"], snow),
        "cloud": pc.or_(rows["cloud"], cloud),
        "product": pc.coalesce(product, rows["product"]),
        SENTINEL1_NAME: pc.coalesce(lists.pairs[SENTINEL1_NAME].take(in_pairs), rows[SENTINEL1_NAME]),
        **{name: pc.if_else(pc.is_valid(in_products), tiles[name], rows[name]) for name in ("tile", "acquired")},
    }
    reason = pc.if_else(pc.is_valid(in_products), tiles["reason"], pa.scalar(None, pa.string()))
    joined = replace_columns(rows, columns)
    return *drop_rejected(joined, reason), measure_coverage(lists.names, joined, lists.products)


def _join_splits(names: dict[str, pa.Array]) -> pa.Table:
    """Columns patch and split of all lists of splits.

    Raises:
        ValueError: a patch is in two splits.
    """
    patch = pa.concat_arrays(list(names.values()))
    split = pa.concat_arrays([pa.repeat(name, len(column)) for name, column in names.items()])
    splits = pa.table({"patch": patch, "split": split})
    pairs = splits.group_by(["patch", "split"]).aggregate([])  # a patch twice in one list is harmless
    counts = pc.value_counts(pairs["patch"])
    doubled = counts.field(0).filter(pc.greater(counts.field(1), 1))
    if len(doubled):
        inside = pairs["split"].filter(pc.equal(pairs["patch"], doubled[0])).to_pylist()
        raise ValueError(f"a patch must be in one split; {doubled[0]} is in {' and '.join(sorted(inside))}")
    return splits
