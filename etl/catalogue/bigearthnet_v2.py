"""Read BigEarthNet version 2 (reBEN): tables of patches, `metadata.parquet` and one for patches with snow or cloud.

Source: reBEN, arXiv 2407.03653, `metadata.parquet` as published; 19 classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.catalogue.columns import SENTINEL1_NAME, cast_column
from etl.catalogue.georeference import Rejections, georeference_patches, split_patch_names
from etl.catalogue.parquet_file import checked_table, read_parquet
from etl.catalogue.table import replace_columns
from etl.input_files import fault_text

__all__ = ["V2_COLUMNS", "join_sentinel1", "join_v2_metadata", "list_v2_patches", "read_v2", "read_v2_metadata"]

V2_COLUMNS = {
    "patch_id": pa.string(),
    "labels": pa.list_(pa.string()),
    "split": pa.string(),
    "country": pa.string(),
    "contains_seasonal_snow": pa.bool_(),
    "contains_cloud_or_shadow": pa.bool_(),
}
"""Columns of the published tables that are used, and must be there."""

_V1_NAME = "s2v1_name"
_PAIRS = {SENTINEL1_NAME: pa.string(), _V1_NAME: pa.string()}
"""Columns that are null where a table lacks them: the patch of Sentinel-1, and the patch's name in version 1."""


def read_v2(files: Sequence[Path]) -> tuple[pa.Table, Rejections]:
    """Rows of a catalogue from version 2's tables, and (patch, reason) of those whose name gives no tile or cell.

    Corners are in metres. `product` is the patch's name without its cell; its baseline N9999 is reBEN's own processing.

    Raises:
        ValueError: a file is no Parquet, or a column is missing or of another type.
    """
    metadata = read_v2_metadata(files)
    rows, rejected = list_v2_patches(metadata["patch"])
    return join_v2_metadata(rows, metadata)[0], rejected


def list_v2_patches(patch: pa.ChunkedArray) -> tuple[pa.Table, Rejections]:
    """Unlabelled rows of the patches with these names, corners in metres; (patch, reason) of unusable names."""
    return georeference_patches(patch, split_patch_names(patch)[0])


def join_v2_metadata(rows: pa.Table, metadata: pa.Table) -> tuple[pa.Table, int]:
    """`rows`, in the same order, with what `metadata` says of them: labels, split and all else; how many it has."""
    at = pc.index_in(rows["patch"], value_set=metadata["patch"].combine_chunks())
    known, names = pc.is_valid(at), ("labels", "split", "country", "snow", "cloud", SENTINEL1_NAME)
    columns = {name: pc.if_else(known, metadata[name].take(at), rows[name]) for name in names}
    return replace_columns(rows, columns), len(rows) - at.null_count


def join_sentinel1(rows: pa.Table, files: Sequence[Path]) -> pa.Table:
    """`rows` of version 1, in the same order, with `s1_name` from version 2's tables, where they have none yet.

    Raises:
        ValueError: a file is no Parquet, or a column is of another type, or there twice.
    """
    for file in files:
        pairs = _read(file, _PAIRS, {})
        at = pc.index_in(rows["patch"], value_set=pairs[_V1_NAME].combine_chunks(), skip_nulls=True)
        found = pairs[SENTINEL1_NAME].take(at)
        rows = replace_columns(rows, {SENTINEL1_NAME: pc.coalesce(rows[SENTINEL1_NAME], found)})
    return rows


def read_v2_metadata(files: Sequence[Path]) -> pa.Table:
    """Version 2's tables in one: patch, labels, split (train, val, test), country, snow, cloud; one row a patch.

    And `s1_name` and `s2v1_name`, which can be null.
    """
    tables = [_read(file, _PAIRS, V2_COLUMNS) for file in files]
    table = pa.concat_tables(tables).rename_columns(["patch", "labels", "split", "country", "snow", "cloud", *_PAIRS])
    # version 2 spells out the split that version 1 calls val
    split = pc.if_else(pc.equal(table["split"], "validation"), "val", table["split"])
    return replace_columns(table, {"split": split})


def _read(file: Path, optional: Mapping[str, pa.DataType], required: Mapping[str, pa.DataType]) -> pa.Table:
    """Columns of a table, the `required` ones first; those of `optional` that it lacks are null."""
    wanted = {**required, **optional}
    try:
        names = pq.read_schema(checked_table(file)).names
        wrong = [name for name in wanted if names.count(name) != 1 and (name in required or name in names)]
        if wrong:
            once = " once" if wrong[0] in names else ""
            raise ValueError(f"column {wrong[0]} must be there{once}; it has {', '.join(names)}")
        present = [name for name in wanted if name in names]
        table = read_parquet(file, present) if present else pa.table({})
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file} must be a table of BigEarthNet v2: {fault_text(error)}") from None
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    try:
        columns = [
            _typed(table[name], name, kind) if name in present else pa.nulls(len(table), kind)
            for name, kind in wanted.items()
        ]
        return pa.table(columns, pa.schema(wanted))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _typed(column: pa.ChunkedArray, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """A column in the published type; flags may also be the numbers 0 and 1.

    Raises:
        ValueError: it is of another type, such as lists that a CSV file has made texts.
    """
    if pa.types.is_boolean(kind) and pa.types.is_integer(column.type):
        return column.cast(kind)
    try:
        return cast_column(column, name, kind)
    except ValueError as error:
        if name != "labels":
            raise
        raise ValueError(f"{error}; write a list of class names in each row, as published, not a text") from None
