"""Columns of a catalogue's table: their types, the order of its rows, and the same columns as NumPy arrays."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.catalogue.metadata import is_images
from etl.catalogue.refused_names import shown_names
from etl.schema import SPLITS

__all__ = [
    "CATALOGUE_SCHEMA",
    "SENTINEL1_NAME",
    "as_arrays",
    "cast_column",
    "conform",
    "is_in_store_order",
    "sort_in_store_order",
    "store_order",
]

CATALOGUE_SCHEMA = pa.schema(
    [
        ("patch", pa.string()),
        ("tile", pa.string()),
        ("product", pa.string()),
        ("acquired", pa.timestamp("s", tz="UTC")),
        ("epsg", pa.int32()),
        ("ulx", pa.float64()),
        ("uly", pa.float64()),
        ("labels", pa.list_(pa.string())),
        ("split", pa.string()),
        ("snow", pa.bool_()),
        ("cloud", pa.bool_()),
        ("country", pa.string()),
        ("s1_name", pa.string()),
    ]
)
"""Columns of `patches.parquet`; `acquired`, `labels`, `split` (train, val, test), `country` and `s1_name`, the name of
the patch of Sentinel-1, may be null. Tables of older versions, without `s1_name`, are read as if it were null.

Null labels mean that nobody labelled the patch, an empty list that it has none of the classes. In a catalogue of image
files `patch` is the path below --source, and `tile`, `product`, `epsg`, `ulx` and `uly` may be null, too."""

SENTINEL1_NAME = "s1_name"
"""The column that may be absent."""

_TEXTS = ("patch", "tile", "product", "country")
_NULLABLE = ("acquired", "labels", "split", "country", SENTINEL1_NAME)
_NULLABLE_OF_IMAGES = (*_NULLABLE, "tile", "product", "epsg", "ulx", "uly")
_ROWS_AT_ONCE = 100_000


_OTHER_KEYS = ("epsg", "split", "snow", "cloud", "country", SENTINEL1_NAME)
_KEYS = ("tile", "acquired", "product", "uly", "ulx", "patch", *_OTHER_KEYS)


def sort_in_store_order(table: pa.Table) -> pa.Table:
    """The rows in the order (tile, acquired, product, uly descending, ulx), then name, then all else; nulls last.

    A pure function of the set of rows: the order in which they come makes no difference.
    """
    return table.take(store_order(table)).combine_chunks()


def is_in_store_order(table: pa.Table) -> bool:
    """Whether sorting by `sort_in_store_order` would leave all rows where they are."""
    return np.array_equal(store_order(table).to_numpy(), np.arange(len(table)))


def store_order(table: pa.Table) -> pa.UInt64Array:
    """Numbers of the rows of `table` in the order of `sort_in_store_order`; equal rows stay as they are."""
    # Arrow cannot sort lists, so labels are compared as one text a patch.
    keyed = table.append_column("joined_labels", pc.binary_join(table["labels"], "\n"))
    # Northings in metres fall from row to row of a tile.
    order = [(name, "descending" if name == "uly" else "ascending") for name in (*_KEYS, "joined_labels")]
    return pc.sort_indices(keyed, order)


def as_arrays(table: pa.Table, with_sentinel1: bool = False) -> dict[str, npt.NDArray[Any]]:
    """The columns of a table of CATALOGUE_SCHEMA but `labels`, by name, shape (patch,); as `Catalogue` holds them.

    `with_sentinel1`: also `s1_name`.
    """
    texts = (*_TEXTS, SENTINEL1_NAME) if with_sentinel1 else _TEXTS
    unknown_values = {"epsg": 0, "ulx": np.nan, "uly": np.nan, "snow": False, "cloud": False}
    split = pc.fill_null(pc.index_in(table["split"], value_set=pa.array(SPLITS)), 0)
    return {
        **{name: _fixed_bytes(shown_names(table[name])) for name in texts},
        **{name: pc.fill_null(table[name], value).to_numpy() for name, value in unknown_values.items()},
        "acquired": table["acquired"].cast(pa.timestamp("s")).to_numpy(),
        "split": split.to_numpy().astype(np.uint8),
    }


def conform(table: pa.Table) -> pa.Table:
    """`table` with exactly the columns of CATALOGUE_SCHEMA and their types."""
    if SENTINEL1_NAME not in table.column_names:
        table = table.append_column(SENTINEL1_NAME, pa.nulls(len(table), pa.string()))
    for item in CATALOGUE_SCHEMA:
        if table.column_names.count(item.name) != 1:
            needed = "must be there" if item.name not in table.column_names else "must be there once"
            raise ValueError(f"column {item.name} ({item.type}) {needed}; it has {', '.join(table.column_names)}")
    if not len(table):
        raise ValueError("holds no patch")
    nullable = _NULLABLE_OF_IMAGES if is_images(table) else _NULLABLE
    table = pa.table([_convert(table[item.name], item, nullable) for item in CATALOGUE_SCHEMA], schema=CATALOGUE_SCHEMA)
    unknown = [split for split in pc.unique(table["split"]).to_pylist() if split not in (*SPLITS[1:], None)]
    if unknown:
        raise ValueError(f"column split must be one of {', '.join(SPLITS[1:])} or null, got {unknown[0]!r}")
    return table


def _convert(column: pa.ChunkedArray, item: pa.Field, nullable: Sequence[str]) -> pa.ChunkedArray:
    """`column` in the type of `item`, without nulls where none may be."""
    if column.null_count and item.name not in nullable:
        raise ValueError(f"column {item.name} must have a value in every row, but is null in {column.null_count}")
    return cast_column(column, item.name, item.type)


def cast_column(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """`column` in the type `kind`: only width and encoding may differ, as other writers of Parquet choose them.

    Raises:
        ValueError: the column is of another type; the message names it with the first value.
    """
    problem = f"column {name} must be of type {kind}, got {column.type}"
    # Arrow would also cast texts to numbers and numbers to times, which hides a wrong column.
    if column.type != kind and _type_family(column.type) not in (_type_family(kind), "null"):
        example = column.drop_null()[:1].to_pylist()
        raise ValueError(f"{problem}, such as {example[0]!r}" if example else problem)
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"{problem}: {error}") from None


def _type_family(kind: pa.DataType) -> str:
    """One name for types that differ in width or encoding only."""
    if pa.types.is_dictionary(kind):
        return _type_family(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {_type_family(kind.value_type)}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return "time" if pa.types.is_timestamp(kind) else str(kind)


def _fixed_bytes(column: pa.ChunkedArray) -> npt.NDArray[np.bytes_]:
    """Texts as fixed-length UTF-8 bytes, shape (patch,), null as empty."""
    longest = pc.max(pc.binary_length(column)).as_py() or 1
    texts = np.zeros(len(column), f"S{longest}")
    for first in range(0, len(column), _ROWS_AT_ONCE):  # few Python objects at a time
        part = pc.fill_null(column[first : first + _ROWS_AT_ONCE], "").cast(pa.binary())
        texts[first : first + _ROWS_AT_ONCE] = part.to_pylist()
    return texts
