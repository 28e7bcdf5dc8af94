"""The catalogue, `patches.parquet`: one row a patch with its tile, product, time, corner, labels and split.

A store holds the same columns in the same order of rows, and pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.catalogue.metadata import class_names_of, is_images, stated_class_names, stated_nomenclature
from etl.catalogue.parquet_file import read_parquet
from etl.catalogue.refused_names import shown_names
from etl.catalogue.validation import find_problems, multi_hot
from etl.files import replace_atomically
from etl.labels import classes_of
from etl.schema import SPLITS
from etl.software import software_versions

__all__ = [
    "CATALOGUE_SCHEMA",
    "Catalogue",
    "cast_column",
    "make_catalogue_table",
    "read_catalogue",
    "read_catalogue_table",
    "replace_columns",
    "sort_in_store_order",
    "write_catalogue",
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
    ]
)
"""Columns of `patches.parquet`; `acquired`, `labels`, `split` (train, val, test) and `country` may be null.

Null labels mean that nobody labelled the patch, an empty list that it has none of the classes. In a catalogue of image
files `patch` is the path below --source, and `tile`, `product`, `epsg`, `ulx` and `uly` may be null, too."""

_TEXTS = ("patch", "tile", "product", "country")
_NULLABLE = ("acquired", "labels", "split", "country")
_NULLABLE_OF_IMAGES = (*_NULLABLE, "tile", "product", "epsg", "ulx", "uly")
_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """Patches as columns, all of the same length, in store order: (tile, acquired, product, row, column)."""

    class_names: tuple[str, ...]
    """Names of the classes of `classes`."""

    is_images: bool
    """Whether each patch is one image file, and its name the file's path below --source."""

    patch: npt.NDArray[np.bytes_]
    """Patch names, UTF-8."""

    tile: npt.NDArray[np.bytes_]
    """MGRS tile, e.g. 33UUP; empty if unknown, which only a patch of a catalogue of image files can be."""

    product: npt.NDArray[np.bytes_]
    """Product under which the patch is listed (Level-1C or Level-2A name, without or with .SAFE)."""

    acquired: npt.NDArray[np.datetime64]
    """Sensing time in UTC, datetime64[s]; NaT if unknown."""

    epsg: npt.NDArray[np.int32]
    """EPSG code of the UTM projection; 0 if unknown."""

    ulx: npt.NDArray[np.float64]
    """Easting of the upper left corner in m; NaN if unknown."""

    uly: npt.NDArray[np.float64]
    """Northing of the upper left corner in m; NaN if unknown."""

    classes: npt.NDArray[np.uint8]
    """Multi-hot labels, shape (patch, class), 0/1; unknown labels are left out here and named in `problem`."""

    split: npt.NDArray[np.uint8]
    """Index into `etl.schema.SPLITS`."""

    snow: npt.NDArray[np.bool_]
    """On the published list of seasonal snow."""

    cloud: npt.NDArray[np.bool_]
    """On the published list of cloud and cloud shadow."""

    country: npt.NDArray[np.bytes_]
    """Country, empty if unknown."""

    problem: npt.NDArray[np.object_]
    """Why it cannot be extracted as listed (unknown label, listed twice, off its tile's grid), else empty; str."""

    def __len__(self) -> int:
        return len(self.patch)

    @property
    def nomenclature(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def take(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Catalogue":
        """The rows that a mask, shape (patch,), or an index array picks, in that order."""
        columns = {
            f.name: getattr(self, f.name)[which] for f in fields(self) if f.name not in ("class_names", "is_images")
        }
        return replace(self, **columns)


def read_catalogue(path: Path) -> Catalogue:
    """The catalogue in a Parquet file with the columns of CATALOGUE_SCHEMA, put in store order.

    Strings become fixed-length UTF-8 bytes, labels a multi-hot array of shape (patch, class), uint8.

    Raises:
        ValueError: the file is no Parquet, holds no patch, or a column is missing, of another type or null although it
            must not be.
        OSError: the file cannot be opened.
    """
    table = sort_in_store_order(read_catalogue_table(path))
    class_names = class_names_of(table)
    classes, unknown = multi_hot(table["labels"], class_names)
    texts: dict[str, Any] = {name: _fixed_bytes(shown_names(table[name])) for name in _TEXTS}
    unknown_values = {"epsg": 0, "ulx": np.nan, "uly": np.nan, "snow": False, "cloud": False}
    numbers: dict[str, Any] = {
        name: pc.fill_null(table[name], value).to_numpy() for name, value in unknown_values.items()
    }
    split = pc.fill_null(pc.index_in(table["split"], value_set=pa.array(SPLITS)), 0)
    return Catalogue(
        class_names=class_names,
        is_images=is_images(table),
        acquired=table["acquired"].cast(pa.timestamp("s")).to_numpy(),
        classes=classes,
        split=split.to_numpy().astype(np.uint8),
        problem=find_problems(table, unknown),
        **texts,
        **numbers,
    )


def read_catalogue_table(path: Path) -> pa.Table:
    """The table in a Parquet file, one row a patch, checked and converted to CATALOGUE_SCHEMA, in the file's order.

    `ulx` and `uly` are in metres, `acquired` in whole seconds of UTC. Raises as `read_catalogue` does.
    """
    try:
        table = read_parquet(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} must be a Parquet file: {str(error).splitlines()[0]}") from None
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None
    try:
        _ = stated_nomenclature(table), stated_class_names(table)
        return _conform(table).replace_schema_metadata(table.schema.metadata)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def write_catalogue(path: Path, table: pa.Table, nomenclature: int = 43) -> None:
    """Write `table`, with the columns of CATALOGUE_SCHEMA (corners in metres), atomically and in store order.

    Classes are those that the metadata of `table` state, or else those of the nomenclature.

    Raises:
        ValueError: the table holds no patch, or a column is missing, of another type or null although it must not be.
        OSError: the file cannot be written.
    """
    software = software_versions(["sentinel-etl"], "(not installed)")["sentinel-etl"]
    stated = {"nomenclature": str(len(classes_of(nomenclature)))}
    if stated_class_names(table) or is_images(table):
        stated = {
            key.decode(): table.schema.metadata[key].decode()
            for key in (b"kind", b"classes")
            if key in table.schema.metadata
        }
    ordered = sort_in_store_order(_conform(table)).replace_schema_metadata(
        {**stated, "software": f"sentinel-etl {software}"}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary:
        pq.write_table(ordered, temporary)


def make_catalogue_table(**columns: Any) -> pa.Table:
    """A table of CATALOGUE_SCHEMA from some of its columns, as arrays or lists of equal length.

    The other columns become null, `snow` and `cloud` false. Corners are in metres.
    """
    rows = len(next(iter(columns.values())))
    defaults = {item.name: pa.nulls(rows, item.type) for item in CATALOGUE_SCHEMA}
    defaults |= dict.fromkeys(("snow", "cloud"), pa.array(np.zeros(rows, np.bool_)))
    return pa.table({**defaults, **columns}, schema=CATALOGUE_SCHEMA)


def replace_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    """`table` with these columns, each of shape (patch,) and its own type, in place of those of the same names."""
    return pa.table({**dict(zip(table.column_names, table.columns, strict=True)), **columns}, schema=table.schema)


def sort_in_store_order(table: pa.Table) -> pa.Table:
    """The rows in the order (tile, acquired, product, uly descending, ulx), then name, then all else; nulls last.

    A pure function of the set of rows: the order in which they come makes no difference.
    """
    # Arrow cannot sort lists, so labels are compared as one text a patch.
    keyed = table.append_column("joined_labels", pc.binary_join(table["labels"], "\n"))
    keys = ("tile", "acquired", "product", "uly", "ulx", "patch", "epsg", "split", "snow", "cloud", "country")
    # Northings in metres fall from row to row of a tile.
    order = [(name, "descending" if name == "uly" else "ascending") for name in (*keys, "joined_labels")]
    return table.take(pc.sort_indices(keyed, order)).combine_chunks()


def _conform(table: pa.Table) -> pa.Table:
    """`table` with exactly the columns of CATALOGUE_SCHEMA and their types."""
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
