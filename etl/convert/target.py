"""The store that is written: laid out complete but for its pixels, filled with runs of rows, then finished."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etl.convert.settings import ConvertSettings
from etl.mpi import comm_self, file_hints
from etl.schema import Schema
from etl.store.backend import Backend, backend_of
from etl.store.hdf5.chunked import ChunkedWriter, compressed_chunks
from etl.store.hdf5.create import create_chunked_hdf5
from etl.store.layout import Layout
from etl.store.location import format_of

__all__ = ["Target", "make_target"]

_ALIGN_BYTES = 1 << 20


class Target(Protocol):
    """A store in the making."""

    def write(self, name: str, first: int, rows: npt.NDArray[np.uint16]) -> None:
        """Write `rows`, shape (n, ...), to rows [first, first + n) of a pixel data set; in Zarr, whole shards."""

    def finish(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole small arrays, in the order given, and bring everything to the disk."""


def make_target(
    path: Path,
    schema: Schema,
    identity: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Any],
    settings: ConvertSettings,
) -> Target:
    """A new store at `path`, without pixels, in the format and layout that `settings` ask for.

    Raises:
        OSError: it cannot be written.
    """
    if format_of(path) == "Zarr":
        layout = Layout(
            shard_rows=settings.shard_rows,
            chunk_rows=settings.chunk_rows,
            compress=settings.codec,
            level=settings.level,
        )
    elif settings.codec == "none":
        layout = Layout(_ALIGN_BYTES, collective=False)
    else:
        chunks = compressed_chunks(settings.codec, settings.level, settings.chunk_rows)
        create_chunked_hdf5(path, schema, identity, attributes, chunks)
        return ChunkedWriter(path)
    store = backend_of(path, layout)
    store.create(schema, identity, attributes)
    return _Plain(store)


class _Plain:
    """As extraction writes it: HDF5 with contiguous rows, or Zarr."""

    def __init__(self, store: Backend) -> None:
        self._store, self._writer = store, store.writer(comm_self(), file_hints())

    def write(self, name: str, first: int, rows: npt.NDArray[np.uint16]) -> None:
        self._writer.write(name, first, rows)
        self._writer.drain()

    def finish(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._writer.sync()
        self._writer.close()
        self._store.overwrite(arrays)
