"""Read tables of a source from Parquet files: batch by batch, and no more than memory can hold."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from etl.input_files import NO_LINKS, Links, check_link, require_regular

__all__ = ["checked_table", "parquet_batches", "read_parquet", "stated_rows"]

_MOST_ROWS = 50_000_000
"""Most rows of a table: a hundred times those of BigEarthNet."""

_MOST_BYTES = 8 << 30
"""Most bytes of a table, by its own account and in memory: BigEarthNet's has 200 MB."""

_BATCH_ROWS = 16_384


def checked_table(path: Path, links: Links = NO_LINKS) -> str:
    """The path of a table, or of what it is a link to.

    Raises:
        OSError: it is absent, no regular file, or a link to elsewhere than `links` allow.
    """
    target = check_link(str(path), links) if links.folders else str(path)
    require_regular(target)
    return target


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """The columns, or all, of the table in a Parquet file.

    Raises:
        ValueError: it is none, is damaged, or too large.
        OSError: it cannot be opened.
    """
    target = checked_table(path)
    try:
        return _read(target, columns)
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(f"must be a Parquet file: {str(error).splitlines()[0]}") from None  # Arrow's, of a bad page


def stated_rows(path: Path) -> int:
    """How many rows a Parquet file says that it has. Raises as `read_parquet` does."""
    with pq.ParquetFile(checked_table(path)) as file:
        _check_size(file.metadata)
        return int(file.metadata.num_rows)


def parquet_batches(path: Path) -> Iterator[pa.Table]:
    """The table in a Parquet file in parts, none of them empty; each has the metadata of the file.

    Raises as `read_parquet` does.
    """
    with pq.ParquetFile(checked_table(path)) as file:
        for batch in _batches(file, None):
            yield pa.Table.from_batches([batch], file.schema_arrow)


def _read(path: str, columns: Sequence[str] | None) -> pa.Table:
    with pq.ParquetFile(path) as file:
        batches = list(_batches(file, columns))
        schema = file.schema_arrow
        if columns is not None:
            schema = pa.schema([schema.field(name) for name in columns], schema.metadata)
        return pa.Table.from_batches(batches, schema)


def _batches(file: pq.ParquetFile, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Batches of rows, after the size of the whole table was checked."""
    _check_size(file.metadata)
    size = 0
    for batch in file.iter_batches(_BATCH_ROWS, columns=columns):
        size += batch.nbytes
        if size > _MOST_BYTES:
            raise ValueError(f"must have at most {_MOST_BYTES} bytes in memory, got more")
        if len(batch):
            yield batch


def _check_size(metadata: pq.FileMetaData) -> None:
    groups = [metadata.row_group(k) for k in range(metadata.num_row_groups)]
    rows, size = metadata.num_rows, sum(group.total_byte_size for group in groups)
    if not 0 <= rows <= _MOST_ROWS or not 0 <= size <= _MOST_BYTES:
        limits = f"at most {_MOST_ROWS} rows and {_MOST_BYTES} bytes"
        raise ValueError(f"must have {limits}, got {rows} rows and {size} bytes")
