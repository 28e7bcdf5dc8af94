"""The lists published beside BigEarthNet version 1: the splits, the excluded patches, the product of each patch.

Source: BigEarthNet (`patches_with_*.csv`), its split (`train.csv`, `val.csv`, `test.csv`), and rsim-tu-berlin
bigearthnet-pipeline (`patch_to_l1c_product.csv.gz`). One patch name a line, with or without a heading; `.gz` or not.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from etl.catalogue.georeference import Rejections, drop_rejected, georeference_patches, georeference_products
from etl.catalogue.table import replace_columns
from etl.schema import SPLITS

__all__ = ["PRODUCT_LIST", "PublishedLists", "find_lists", "join_lists", "list_patches", "read_lists"]

SNOW_LIST, CLOUD_LIST = "patches_with_seasonal_snow", "patches_with_cloud_and_shadow"
PRODUCT_LIST = "patch_to_l1c_product"
"""Names of the lists, without .csv; the list of a split is named like the split."""

_KNOWN = (*SPLITS[1:], SNOW_LIST, CLOUD_LIST, PRODUCT_LIST)
_HEADING = re.compile("[A-Za-z_ ]+")


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

    summary: str
    """The lists that were found, in words."""


def find_lists(folder: Path) -> dict[str, Path]:
    """Paths of the known lists in `folder`, by name without .csv or .csv.gz.

    Raises:
        ValueError: the folder is absent.
    """
    if not folder.is_dir():
        raise ValueError(f"--lists must be a folder of published lists, got {folder}, which is none")
    candidates = ((name, folder / f"{name}{ending}") for name in _KNOWN for ending in (".csv.gz", ".csv"))
    return {name: path for name, path in candidates if path.is_file()}


def read_lists(folder: Path) -> PublishedLists:
    """The lists in `folder`, one name a patch, as arrays of dtype string.

    Raises:
        ValueError: there is none, a file is not such a list, or a patch is in two splits.
    """
    files = find_lists(folder)
    if not files:
        raise ValueError(f"{folder} must hold at least one of {', '.join(f'{name}.csv' for name in _KNOWN)}")
    columns = {name: _read(path, 2 if name == PRODUCT_LIST else 1) for name, path in files.items()}
    counts = ", ".join(f"{name} {len(arrays[0])}" for name, arrays in columns.items())
    empty = pa.array([], pa.string())
    snow, cloud = (columns.get(name, [empty])[0] for name in (SNOW_LIST, CLOUD_LIST))
    products = pa.table(columns.get(PRODUCT_LIST, [empty, empty]), names=["patch", "product"])
    splits = _join_splits({name: columns.get(name, [empty])[0] for name in SPLITS[1:]})
    return PublishedLists(splits, snow, cloud, products, f"{folder}: {counts}")


def list_patches(lists: PublishedLists) -> tuple[pa.Table, Rejections]:
    """Unlabelled rows of all patches whose product is listed, corners in metres; and (patch, reason) of the others."""
    return georeference_patches(lists.products["patch"], lists.products["product"])


def join_lists(rows: pa.Table, lists: PublishedLists) -> tuple[pa.Table, Rejections, int]:
    """`rows` with the lists joined, (patch, reason) of those whose product's name is invalid, and how many matched.

    The list of products is authoritative for product, tile and acquisition; corners (in metres) stay as they were. A
    split comes from the lists if they name the patch; `snow` and `cloud` are true if the rows or the lists say so.
    """
    patch = rows["patch"]
    snow, cloud = (pc.is_in(patch, value_set=names) for names in (lists.snow, lists.cloud))
    in_splits, in_products = (
        pc.index_in(patch, value_set=table["patch"].combine_chunks()) for table in (lists.splits, lists.products)
    )
    named = pc.or_(pc.or_(snow, cloud), pc.or_(pc.is_valid(in_splits), pc.is_valid(in_products)))
    product = lists.products["product"].take(in_products)
    tiles = georeference_products(product)
    columns = {
        "split": pc.coalesce(lists.splits["split"].take(in_splits), rows["split"]),
        "snow": pc.or_(rows["snow"], snow),
        "cloud": pc.or_(rows["cloud"], cloud),
        "product": pc.coalesce(product, rows["product"]),
        **{name: pc.if_else(pc.is_valid(in_products), tiles[name], rows[name]) for name in ("tile", "acquired")},
    }
    reason = pc.if_else(pc.is_valid(in_products), tiles["reason"], pa.scalar(None, pa.string()))
    return *drop_rejected(replace_columns(rows, columns), reason), pc.sum(named).as_py() or 0


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


def _read(path: Path, columns: int) -> list[pa.Array]:
    """The first columns of a list, as texts without surrounding blanks and without the heading, if there is one."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            content = stream.read()
        if not content.strip():  # which pyarrow's reader refuses
            return [pa.array([], pa.string())] * columns
        table = pv.read_csv(
            pa.BufferReader(content + b"\n"),  # pyarrow sees no column in a line without end
            read_options=pv.ReadOptions(autogenerate_column_names=True),
            convert_options=pv.ConvertOptions(column_types={f"f{k}": pa.string() for k in range(columns)}),
        )
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a list of patches: {str(error).splitlines()[0]}") from None
    if table.num_columns < columns:
        raise ValueError(f"{path} must have {columns} columns, got {table.num_columns}")
    arrays = [pc.utf8_trim_whitespace(table[k]).combine_chunks() for k in range(columns)]
    # Every patch's name has digits; some of the published lists begin with the name of the column.
    heading = _HEADING.fullmatch(arrays[0][0].as_py()) is not None
    return [array.slice(int(heading)) for array in arrays]
