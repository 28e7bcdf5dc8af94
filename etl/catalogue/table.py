"""The catalogue, `patches.parquet`: one row a patch with its tile, product, time, corner, labels and split.

A store holds the same columns in the same order of rows, and pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from etl.catalogue.columns import CATALOGUE_SCHEMA, as_arrays, conform, sort_in_store_order, store_order
from etl.catalogue.in_order import read_in_order
from etl.catalogue.metadata import class_names_of, is_images, is_single_label, stated_class_names, stated_nomenclature
from etl.catalogue.parquet_file import read_parquet
from etl.catalogue.validation import find_problems, multi_hot
from etl.files import replace_atomically
from etl.labels import classes_of
from etl.software import software_versions

__all__ = [
    "Catalogue",
    "make_catalogue_table",
    "read_catalogue",
    "read_catalogue_table",
    "replace_columns",
    "write_catalogue",
]

_ROW_GROUP = 1 << 20
"""Rows of a row group of the Parquet file."""


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

    s1_name: npt.NDArray[np.bytes_] | None = None
    """Name of the patch of Sentinel-1, empty if there is none; None unless it was asked for."""

    single_label: bool = False
    """Whether a patch has one class, if any: said of image files in folders of classes, or with a column `class`."""

    def __len__(self) -> int:
        return len(self.patch)

    @property
    def nomenclature(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def take(self, which: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> "Catalogue":
        """The rows that a mask, shape (patch,), or an index array picks, in that order."""
        whole = ("class_names", "is_images", "single_label")
        columns = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in whole}
        return replace(self, **{name: values[which] for name, values in columns.items() if values is not None})


def read_catalogue(
    path: Path, keep_snow: bool = True, keep_cloud: bool = True, with_sentinel1: bool = False
) -> Catalogue:
    """The catalogue in a Parquet file with the columns of CATALOGUE_SCHEMA, put in store order.

    Strings become fixed-length UTF-8 bytes, labels a multi-hot array of shape (patch, class), uint8. `keep_snow`,
    `keep_cloud`: whether patches on the published lists of snow, and of cloud, are in it; it may be empty without them.
    `with_sentinel1`: whether it has the column `s1_name`.

    Raises:
        ValueError: the file is no Parquet, holds no patch, or a column is missing, of another type or null although it
            must not be.
        OSError: the file cannot be opened.
    """
    try:
        read = read_in_order(path, with_sentinel1)
    except (ValueError, OSError, pa.ArrowException):
        read = None  # reading it whole tells what is wrong with it
    if read is None:
        catalogue = _read_whole(path, with_sentinel1)
        return catalogue.take((keep_snow | ~catalogue.snow) & (keep_cloud | ~catalogue.cloud))
    class_names, columns = read
    keep = np.flatnonzero((keep_snow | ~columns["snow"]) & (keep_cloud | ~columns["cloud"]))
    if len(keep) < len(columns["snow"]):
        for name in columns:  # one column after the other, to hold no two copies of the catalogue
            columns[name] = columns[name][keep]
    return Catalogue(class_names, is_images=False, single_label=False, **columns)


def _read_whole(path: Path, with_sentinel1: bool) -> Catalogue:
    table = sort_in_store_order(read_catalogue_table(path))
    class_names = class_names_of(table)
    classes, unknown = multi_hot(table["labels"], class_names)
    problem = find_problems(table, unknown)
    columns = as_arrays(table, with_sentinel1)
    single = is_single_label(table) and bool((classes.sum(axis=1) <= 1).all())
    return Catalogue(class_names, is_images(table), classes=classes, problem=problem, single_label=single, **columns)


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
        return conform(table).replace_schema_metadata(table.schema.metadata)
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
            for key in (b"kind", b"classes", b"labels")
            if key in table.schema.metadata
        }
    table = conform(table).replace_schema_metadata({**stated, "software": f"sentinel-etl {software}"})
    order = store_order(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_atomically(path) as temporary, pq.ParquetWriter(temporary, table.schema) as file:
        for first in range(0, len(table), _ROW_GROUP):  # not sorted as a whole, to hold no two copies of it
            file.write_table(table.take(order[first : first + _ROW_GROUP]).combine_chunks())


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
