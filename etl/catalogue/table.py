"""The catalogue: one row a patch, in columns, kept as Parquet.

What it holds and in which order is the first half of what a store holds; the rest is pixels.
"""

import importlib.metadata
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.catalogue.problems import find_problems, multi_hot
from etl.files import replace_atomically
from etl.labels import CLASSES_19, CLASSES_43, classes_of
from etl.schema import SPLITS

__all__ = [
    "COLUMNS",
    "Catalogue",
    "in_store_order",
    "load",
    "nomenclature_of",
    "read",
    "table_of",
    "write",
]

COLUMNS = pa.schema(
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
    ]
)
"""Columns of `patches.parquet`; `acquired`, `split` (train, val, test) and `country` may be null; so may `labels`:
null says that nobody labelled the patch, an empty list that it has none of the classes."""

_NULLABLE = ("acquired", "labels", "split", "country")


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Patches as columns, all of the same length, in store order: (tile, acquired, product, row j, column i)."""

    nomenclature: int
    """Number of classes of `classes`: 43 or 19."""

    patch: npt.NDArray[np.bytes_]
    """Patch names, UTF-8."""

    tile: npt.NDArray[np.bytes_]
    """MGRS tile, e.g. 33UUP."""

    product: npt.NDArray[np.bytes_]
    """Product under which the patch is listed (Level-1C or Level-2A name, without or with .SAFE)."""

    acquired: npt.NDArray[np.datetime64]
    """Sensing time in UTC, datetime64[s]; NaT where unknown."""

    epsg: npt.NDArray[np.int32]
    """EPSG code of the UTM projection."""

    ulx: npt.NDArray[np.float64]
    """Easting of the upper left corner in m."""

    uly: npt.NDArray[np.float64]
    """Northing of the upper left corner in m."""

    classes: npt.NDArray[np.uint8]
    """Multi-hot labels, shape (patch, class), 0/1; unknown labels are left out here and named in `problem`."""

    split: npt.NDArray[np.uint8]
    """Index into `etl.schema.SPLITS`."""

    snow: npt.NDArray[np.bool_]
    """On the published list of seasonal snow."""

    cloud: npt.NDArray[np.bool_]
    """On the published list of cloud and cloud shadow."""

    country: npt.NDArray[np.bytes_]
    """Country, empty where unknown."""

    problem: npt.NDArray[np.object_]
    """Why it cannot be extracted as listed (unknown label, listed twice, off its tile's grid), else empty; str."""

    def __len__(self) -> int:
        return len(self.patch)

    def take(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Catalogue":
        """The rows that a mask or an index array picks, in that order."""
        columns = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "nomenclature"}
        return replace(self, **columns)


def read(path: Path) -> Catalogue:
    """The catalogue of a Parquet file with the columns of `COLUMNS`, put in store order.

    Raises:
        ValueError: the file is no Parquet, holds no patch, or a column is missing, of another type or null where it
            must not be.
        OSError: the file cannot be opened.
    """
    table = in_store_order(load(path))
    nomenclature = nomenclature_of(table)
    classes, unknown = multi_hot(table["labels"], nomenclature)
    texts: dict[str, Any] = {name: _bytes(table[name]) for name in ("patch", "tile", "product", "country")}
    numbers: dict[str, Any] = {name: table[name].to_numpy() for name in ("epsg", "ulx", "uly", "snow", "cloud")}
    split = pc.fill_null(pc.index_in(table["split"], value_set=pa.array(SPLITS)), 0)
    return Catalogue(
        nomenclature=nomenclature,
        acquired=table["acquired"].cast(pa.timestamp("s")).to_numpy(),
        classes=classes,
        split=split.to_numpy().astype(np.uint8),
        problem=find_problems(table, unknown),
        **texts,
        **numbers,
    )


def load(path: Path) -> pa.Table:
    """The table of a Parquet file, checked and brought to `COLUMNS`, in the file's order; raises as `read` does."""
    try:
        with pq.ParquetFile(path) as file:
            found = file.read()
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} must be a Parquet file: {str(error).splitlines()[0]}") from None
    try:
        table = _conformed(found)
        _said_nomenclature(found)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return table.replace_schema_metadata(found.schema.metadata)


def write(path: Path, table: pa.Table, nomenclature: int = 43) -> None:
    """Write `table`, of COLUMNS in any order, as a catalogue in store order; it appears under its name when complete.

    Raises:
        ValueError: the table holds no patch, or a column is missing, of another type or null where it must not be.
        OSError: the file cannot be written.
    """
    said = {"nomenclature": str(len(classes_of(nomenclature))), "software": _software()}
    ordered = in_store_order(_conformed(table)).replace_schema_metadata(said)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary:
        pq.write_table(ordered, temporary)


def table_of(**columns: Any) -> pa.Table:
    """A table of COLUMNS from some of them, as arrays or lists; the others become null, `snow` and `cloud` false."""
    rows = len(next(iter(columns.values())))
    unsaid = {item.name: pa.nulls(rows, item.type) for item in COLUMNS}
    unsaid |= dict.fromkeys(("snow", "cloud"), pa.array(np.zeros(rows, np.bool_)))
    return pa.table({**unsaid, **columns}, schema=COLUMNS)


def in_store_order(table: pa.Table) -> pa.Table:
    """The rows in the order (tile, acquired, product, uly descending, ulx), then name, then all else.

    A pure function of the set of rows: the order in which they come makes no difference.
    """
    rank = {name: _rank(table[name]) for name in ("tile", "product")}
    north, east = -table["uly"].to_numpy(), table["ulx"].to_numpy()
    time = pc.fill_null(table["acquired"].cast(pa.int64()), np.iinfo(np.int64).max).to_numpy()
    keys = [rank["tile"], time, rank["product"], north, east]
    order = np.lexsort(keys[::-1])
    if _has_ties(keys, order):
        others = ("patch", "epsg", "split", "snow", "cloud", "country")
        rest = [_rank(table[name]) for name in others] + [_rank(_joined(table["labels"]))]
        order = np.lexsort([*rest[::-1], *keys[::-1]])
    return table.take(pa.array(order)).combine_chunks()


def nomenclature_of(table: pa.Table) -> int:
    """43 or 19: what the file says of itself, else the one that more of the labels belong to (43 where equal)."""
    said = _said_nomenclature(table)
    if said is not None:
        return said
    labels = pc.list_flatten(table["labels"])
    hits = {len(c): pc.sum(pc.is_in(labels, value_set=pa.array(c))).as_py() or 0 for c in (CLASSES_43, CLASSES_19)}
    return 19 if hits[19] > hits[43] else 43


def _said_nomenclature(table: pa.Table) -> int | None:
    said: bytes | None = (table.schema.metadata or {}).get(b"nomenclature")
    if said not in (b"43", b"19", None):
        raise ValueError(f"nomenclature in the file's metadata must be 43 or 19, got {said!r}")
    return None if said is None else int(said)


def _conformed(found: pa.Table) -> pa.Table:
    """`found` with exactly the columns of COLUMNS and their types."""
    for item in COLUMNS:
        if item.name not in found.column_names:
            raise ValueError(f"column {item.name} ({item.type}) must be there; it has {', '.join(found.column_names)}")
    if not len(found):
        raise ValueError("holds no patch")
    table = pa.table([_converted(found[item.name], item) for item in COLUMNS], schema=COLUMNS)
    strange = [split for split in pc.unique(table["split"]).to_pylist() if split not in (*SPLITS[1:], None)]
    if strange:
        raise ValueError(f"column split must be one of {', '.join(SPLITS[1:])} or null, got {strange[0]!r}")
    return table


def _converted(column: pa.ChunkedArray, item: pa.Field) -> pa.ChunkedArray:
    """`column` in the type of `item` where it is of the same kind: only widths and encodings may differ."""
    if column.null_count and item.name not in _NULLABLE:
        raise ValueError(f"column {item.name} must have a value in every row, but is null in {column.null_count}")
    if column.type != item.type and _kind(column.type) not in (_kind(item.type), "null"):
        raise ValueError(f"column {item.name} must be of type {item.type}, got {column.type}")
    try:
        return column.cast(item.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"column {item.name} must be of type {item.type}, got {column.type}: {error}") from None


def _kind(kind: pa.DataType) -> str:
    """What is common to types that differ in width or encoding only."""
    if pa.types.is_dictionary(kind):
        return _kind(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {_kind(kind.value_type)}"
    tests = {
        "text": (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view),
        "number": (pa.types.is_integer, pa.types.is_floating),
        "time": (pa.types.is_timestamp,),
    }
    return next((name for name, each in tests.items() if any(test(kind) for test in each)), str(kind))


def _rank(column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Place of each value among the sorted different ones, nulls last."""
    encoded = pc.dictionary_encode(column.combine_chunks(), null_encoding="encode")
    values = encoded.dictionary
    order = pc.sort_indices(values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values)
    place = np.empty(len(order), np.int64)
    place[order.to_numpy()] = np.arange(len(order))
    return np.asarray(place[encoded.indices.to_numpy()])


def _joined(labels: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each list of labels as one text, null where there is no list."""
    return pc.binary_join(labels, "\n")


def _has_ties(keys: list[npt.NDArray[Any]], order: npt.NDArray[np.intp]) -> bool:
    same = np.ones(max(len(order) - 1, 0), np.bool_)
    for key in keys:
        same &= key[order[1:]] == key[order[:-1]]
    return bool(same.any())


def _bytes(column: pa.ChunkedArray) -> npt.NDArray[np.bytes_]:
    """Texts as fixed-length UTF-8 bytes, null as empty."""
    encoded = pc.fill_null(column, "").combine_chunks().dictionary_encode()
    different = np.array([text.encode() for text in encoded.dictionary.to_pylist()] or [b""], np.bytes_)
    return np.asarray(different[encoded.indices.to_numpy()])


def _software() -> str:
    try:
        return f"sentinel-etl {importlib.metadata.version('sentinel-etl')}"
    except importlib.metadata.PackageNotFoundError:
        return "sentinel-etl (not installed)"
