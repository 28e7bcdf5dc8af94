"""BigEarthNet version 2 (reBEN): tables of patches, `metadata.parquet` and one for patches with snow or cloud.

Source: reBEN, arXiv 2407.03653, `metadata.parquet` as published; 19 classes.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.catalogue.place import Rejections, place, split_cells
from etl.catalogue.table import table_of

__all__ = ["METADATA_COLUMNS", "describe", "list_v2", "read_metadata", "read_v2"]

METADATA_COLUMNS = {
    "patch_id": pa.string(),
    "labels": pa.list_(pa.string()),
    "split": pa.string(),
    "country": pa.string(),
    "contains_seasonal_snow": pa.bool_(),
    "contains_cloud_or_shadow": pa.bool_(),
}
"""Columns of the published tables that are used."""

_SPLIT_NAMES = {"validation": "val"}


def read_v2(files: Sequence[Path]) -> tuple[pa.Table, Rejections]:
    """Rows of a catalogue from version 2's tables, and (patch, reason) of those whose name does not place them.

    `product` is the patch's name without its cell; baseline N9999 there is reBEN's own processing.

    Raises:
        ValueError: a file is no Parquet, or a column is missing or of another type.
    """
    found = read_metadata(files)
    rows, rejected = list_v2(found["patch"])
    return describe(rows, found)[0], rejected


def list_v2(patch: pa.ChunkedArray) -> tuple[pa.Table, Rejections]:
    """Unlabelled rows of the patches with these names, and (patch, reason) of names that do not place them."""
    stem, _, _ = split_cells(patch)
    placed, rejected = place(patch, stem)
    return table_of(**{name: placed[name] for name in placed.column_names}), rejected


def describe(rows: pa.Table, metadata: pa.Table) -> tuple[pa.Table, int]:
    """`rows`, in the same order, with labels, split, country, snow and cloud where `metadata` knows them; how many."""
    at = pc.index_in(rows["patch"], value_set=metadata["patch"].combine_chunks())
    for name in ("labels", "split", "country", "snow", "cloud"):
        index = rows.schema.get_field_index(name)
        values = pc.if_else(pc.is_valid(at), metadata[name].take(at), rows[name])
        rows = rows.set_column(index, rows.schema.field(index), values)
    return rows, len(rows) - at.null_count


def read_metadata(files: Sequence[Path]) -> pa.Table:
    """Columns patch, labels, split (train, val, test), country, snow, cloud of version 2's tables, put together."""
    tables = [_read(file) for file in files]
    found = pa.concat_tables(tables).rename_columns(["patch", "labels", "split", "country", "snow", "cloud"])
    split = found["split"]
    for published, ours in _SPLIT_NAMES.items():
        split = pc.if_else(pc.equal(split, published), ours, split)
    return found.set_column(2, "split", split)


def _read(file: Path) -> pa.Table:
    try:
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            missing = [name for name in METADATA_COLUMNS if name not in names]
            if missing:
                raise ValueError(f"{file}: column {missing[0]} must be there; it has {', '.join(names)}")
            found = opened.read(columns=list(METADATA_COLUMNS))
        return found.select(list(METADATA_COLUMNS)).cast(pa.schema(list(METADATA_COLUMNS.items())))
    except pa.ArrowException as error:
        raise ValueError(f"{file} must be a table of BigEarthNet v2: {str(error).splitlines()[0]}") from None
