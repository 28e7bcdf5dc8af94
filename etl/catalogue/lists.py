"""The lists published beside BigEarthNet version 1: who is in which split, who is excluded, who was cut from where.

Source: BigEarthNet (`patches_with_*.csv`), its split (`train.csv`, `val.csv`, `test.csv`), and rsim-tu-berlin
bigearthnet-pipeline (`patch_to_l1c_product.csv.gz`). One patch name a line, with or without a heading; `.gz` or not.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv

from etl.catalogue.place import Rejections, place, place_products
from etl.catalogue.table import table_of
from etl.schema import SPLITS

__all__ = ["PRODUCTS", "Lists", "find_lists", "join", "list_patches", "read_lists"]

SNOW, CLOUD, PRODUCTS = "patches_with_seasonal_snow", "patches_with_cloud_and_shadow", "patch_to_l1c_product"
"""Names of the lists, without .csv; those of the split are named like it."""

_KNOWN = (*SPLITS[1:], SNOW, CLOUD, PRODUCTS)
_HEADING = re.compile(rb"(\xef\xbb\xbf)?[A-Za-z_ \"]+(,|\r?\n|$)")


@dataclass(frozen=True, slots=True)
class Lists:
    """What a folder of lists says; a list that is not there is empty."""

    patch: pa.Array
    """Names of the patches that have a split."""

    split: pa.Array
    """Split of each of `patch`: train, val or test."""

    snow: pa.Array
    """Names of the patches with seasonal snow."""

    cloud: pa.Array
    """Names of the patches with cloud or cloud shadow."""

    listed: pa.Array
    """Names of the patches whose product is listed."""

    product: pa.Array
    """Level-1C product of each of `listed`."""

    found: str
    """What was found, in words."""


def find_lists(folder: Path) -> dict[str, Path]:
    """Files of the known lists in `folder`, by name without .csv or .csv.gz.

    Raises:
        ValueError: the folder is absent.
    """
    if not folder.is_dir():
        raise ValueError(f"lists must be a folder of published lists, got {folder}, which is none")
    candidates = ((name, folder / f"{name}{ending}") for name in _KNOWN for ending in (".csv.gz", ".csv"))
    return {name: path for name, path in candidates if path.is_file()}


def read_lists(folder: Path) -> Lists:
    """The lists of `folder`.

    Raises:
        ValueError: there is none, one is not such a list, or a patch stands in two splits.
    """
    files = find_lists(folder)
    if not files:
        raise ValueError(f"{folder} must hold at least one of {', '.join(f'{name}.csv' for name in _KNOWN)}")
    empty = pa.array([], pa.string())
    names = {name: _read(path, 1)[0] for name, path in files.items() if name != PRODUCTS}
    listed, product = _read(files[PRODUCTS], 2) if PRODUCTS in files else (empty, empty)
    counts = [f"{name} {len(column)}" for name, column in (*names.items(), (PRODUCTS, listed)) if name in files]
    patch, split = _splits({name: names.get(name, empty) for name in SPLITS[1:]})
    snow, cloud = names.get(SNOW, empty), names.get(CLOUD, empty)
    return Lists(patch, split, snow, cloud, listed, product, f"{folder}: {', '.join(counts)}")


def list_patches(lists: Lists) -> tuple[pa.Table, Rejections]:
    """Unlabelled rows of all patches whose product is listed, placed by name; and (patch, reason) of the others."""
    placed, rejected = place(pa.chunked_array([lists.listed]), pa.chunked_array([lists.product]))
    return table_of(**{name: placed[name] for name in placed.column_names}), rejected


def join(rows: pa.Table, lists: Lists) -> tuple[pa.Table, Rejections, int]:
    """`rows` with what the lists say of them, (patch, reason) where the listed product is none, and how many matched.

    The list of products is authoritative for product, tile and acquisition; corners stay as they were. A split comes
    from the lists where they name the patch; exclusions add up.
    """
    patch = rows["patch"]
    snow, cloud = (pc.is_in(patch, value_set=names) for names in (lists.snow, lists.cloud))
    in_split = pc.index_in(patch, value_set=lists.patch)
    in_products = pc.index_in(patch, value_set=lists.listed)
    named = pc.or_(pc.or_(snow, cloud), pc.or_(pc.is_valid(in_split), pc.is_valid(in_products)))
    columns = {
        "split": pc.coalesce(lists.split.take(in_split), rows["split"]),
        "snow": pc.or_(rows["snow"], snow),
        "cloud": pc.or_(rows["cloud"], cloud),
    }
    product = lists.product.take(in_products)
    tiles = place_products(product)
    columns["product"] = pc.coalesce(product, rows["product"])
    for name in ("tile", "acquired"):
        columns[name] = pc.if_else(pc.is_valid(in_products), tiles[name], rows[name])
    for name, column in columns.items():
        index = rows.schema.get_field_index(name)
        rows = rows.set_column(index, rows.schema.field(index), column)
    bad = pc.and_(pc.is_valid(in_products), pc.is_valid(tiles["reason"]))
    rejected = zip(patch.filter(bad).to_pylist(), tiles["reason"].filter(bad).to_pylist(), strict=True)
    return rows.filter(pc.invert(bad)), list(rejected), pc.sum(named).as_py() or 0


def _splits(names: dict[str, pa.Array]) -> tuple[pa.Array, pa.Array]:
    """All names that have a split, and the split of each."""
    patch = pa.concat_arrays(list(names.values()))
    split = pa.concat_arrays([pa.repeat(name, len(column)) for name, column in names.items()])
    pairs = pa.table({"patch": patch, "split": split}).group_by(["patch", "split"]).aggregate([])
    counts = pc.value_counts(pairs["patch"])
    doubled = counts.field(0).filter(pc.greater(counts.field(1), 1))
    if len(doubled):
        inside = pairs["split"].filter(pc.equal(pairs["patch"], doubled[0])).to_pylist()
        raise ValueError(f"a patch must be in one split; {doubled[0]} is in {' and '.join(sorted(inside))}")
    return patch, split


def _read(path: Path, columns: int) -> list[pa.Array]:
    """The first columns of a list, as texts; a first line without any digit in its first column is a heading."""
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            first = stream.read(4096)
        if not first.strip():
            return [pa.array([], pa.string())] * columns
        names = [str(k) for k in range(1 + first.split(b"\n", 1)[0].count(b","))]
        heading = 1 if _HEADING.match(first) else 0
        if heading and not first.partition(b"\n")[2].strip():
            return [pa.array([], pa.string())] * columns
        found = pv.read_csv(
            path,
            read_options=pv.ReadOptions(column_names=names, skip_rows=heading),
            convert_options=pv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} must be a list of patches: {str(error).splitlines()[0]}") from None
    if len(names) < columns:
        raise ValueError(f"{path} must have {columns} columns, got {len(names)}")
    return [pc.utf8_trim_whitespace(found[name]).combine_chunks() for name in names[:columns]]
