"""Write whole shards of an existing Zarr store from all ranks; without shards, whole chunks in their place.

A shard is one file or object. TensorStore writes a file under a temporary name and renames it, and an object appears
whole or not at all. So no lock is needed as long as each shard is written by one rank. How a store in a bucket is
written is in `etl.store.zarr.bucket_writer`.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.files import sync_path
from etl.schema import UNWRITTEN, DataSet
from etl.store.interface import Writer
from etl.store.location import Location
from etl.store.object_store import (
    TENSORSTORE_ERRORS,
    open_array,
    read_objects,
    tensorstore_context,
    translate_error,
    translated_errors,
    write_objects,
)
from etl.store.reader import StoreReader
from etl.store.sync import sync_and_drop_cache
from etl.store.zarr.group import ZARR_ROOT, chunk_key
from etl.store.zarr.reader import ZarrReader, means_damage
from etl.store.zarr.sharding import write_shard
from etl.store.zarr.text import UTF8, as_strings, as_utf8

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["FolderWriter", "ShardWriter", "overwrite_zarr", "zero_zarr_rows"]

_SYNC_THREADS = 4
"""Threads that wait for the disk while the next shards are extracted; a disk syncs several files at once."""


def _open(location: Location, pixels: Sequence[DataSet], shared: ts.Context) -> dict[str, Any]:
    """The pixel arrays by name, open in TensorStore."""
    with translated_errors(location):
        futures = {item.name: open_array(location, item.name, shared) for item in pixels}
        return {name: future.result() for name, future in futures.items()}


class ShardWriter(Writer):
    """An existing store, open on all ranks for writing whole shards; rank 0 writes the results of all."""

    def __init__(self, location: Location, comm: "MPI.Intracomm") -> None:
        reader, schema = ZarrReader(location), StoreReader(location, check=False).schema
        self._location, self._comm, self._pixels = location, comm, schema.pixels
        self._metadata = {item.name: reader.arrays[item.name] for item in schema.pixels}
        self._results = {item.name for item in schema.results}
        self._unsynced_results: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self._columns = reader.read_arrays(self._results) if comm.rank == 0 else {}

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Begin to write `rows`, shape (n, ...), to rows [first, first + n), whole shards; `wait` waits for the end.

        Results (cloud share, state, ...) are kept in memory until `sync`, which leaves the stored results of rows in
        state 0 unchanged.

        Raises:
            OSError: an uncompressed shard in a folder, which is written before this returns, was not written.
        """
        if not len(rows):
            return
        if name in self._results:
            # a copy, as the caller fills the same memory again in the next round
            self._unsynced_results.setdefault(first, {})[name] = rows.copy()
        else:
            self._write_pixels(name, first, rows)

    @abstractmethod
    def _write_pixels(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Begin to write `rows`, at least one, of a pixel array."""

    @abstractmethod
    def _flush(self) -> None:
        """Flush this rank's shards to the disk."""

    @abstractmethod
    def _overwrite(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays, in the order given; on rank 0."""

    def _gather(self, results: dict[int, dict[str, npt.NDArray[Any]]]) -> list[dict[int, dict[str, npt.NDArray[Any]]]]:
        """Collective: the results of every rank on rank 0, none elsewhere."""
        return self._comm.gather(results) or []

    def sync(self) -> None:
        """Collective: flush the bytes of this rank's shards to the disk; then rank 0 writes the results of all ranks.

        Raises:
            OSError: on the ranks whose shards could not be flushed.
        """
        problem = None
        try:
            self._flush()
        except OSError as error:
            problem = error
        # also after an error: the other ranks wait in this collective call
        parts = self._gather(self._unsynced_results if problem is None else {})
        self._unsynced_results = {}
        if any(parts):
            changed = set()  # text, which seldom does, takes long to encode
            for first, results in (entry for part in parts for entry in part.items()):
                done = results["state"] != UNWRITTEN
                for name, values in results.items():
                    column = self._columns[name][first : first + len(values)]
                    if not np.array_equal(column[done], values[done]):
                        column[done] = values[done]
                        changed.add(name)
            self._overwrite({name: self._columns[name] for name in sorted(changed)})  # `state` last
        if problem is not None:
            raise problem

    def close(self) -> None:
        """Drop the arrays."""
        self._columns = {}


class FolderWriter(ShardWriter):
    """A store in a folder."""

    def __init__(self, location: Location, comm: "MPI.Intracomm") -> None:
        """With several ranks only one thread compresses: other ranks use the other cores."""
        super().__init__(location, comm)
        self._by_tensorstore = {name for name, item in self._metadata.items() if item.compressors or not item.shards}
        shared = tensorstore_context(remote=False, sync=False, threads=None if comm.size == 1 else 1)
        self._arrays = _open(location, self._pixels, shared)
        self._writing: list[tuple[str, int, npt.NDArray[Any], Any]] = []
        self._unsynced_shards: list[Path] = []
        self._syncing: dict[Path, Future[None]] = {}
        self._sync_pool = ThreadPoolExecutor(_SYNC_THREADS, "sync")

    def _write_pixels(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        shard_rows = self._arrays[name].chunk_layout.write_chunk.shape[0]
        starts = range(first, first + len(rows), shard_rows)
        shards = {self._location.path / chunk_key(name, (k // shard_rows, 0, 0, 0)): k for k in starts}
        self._unsynced_shards += shards
        if name in self._by_tensorstore:
            self._writing.append((name, first, rows, self._arrays[name][first : first + len(rows)].write(rows)))
            return
        chunk_rows = self._arrays[name].chunk_layout.read_chunk.shape[0]
        for path, start in shards.items():
            write_shard(path, rows[start - first : start - first + shard_rows], shard_rows, chunk_rows)

    def wait(self) -> None:
        """Wait until the bytes of all shards are written, and begin to flush their files to the disk.

        Raises:
            OSError: a shard was not written.
        """
        failed = None
        for name, first, rows, future in self._writing:
            try:
                self._finish(name, first, rows, future)
            except TENSORSTORE_ERRORS as error:
                failed = failed or translate_error(error, self._location / name)
        self._writing = []
        if failed is not None:
            raise failed
        self._syncing |= {
            path: self._sync_pool.submit(_sync_and_drop_if_present, path) for path in self._unsynced_shards
        }
        self._unsynced_shards = []

    def _finish(self, name: str, first: int, rows: npt.NDArray[Any], future: Any) -> None:
        """Wait until `rows` are written; shards that are damaged are removed first."""
        try:
            future.result()
        except TENSORSTORE_ERRORS as error:
            if not means_damage(error):
                raise
            # TensorStore reads the last shard before it writes it, as that holds fewer rows than others
            shard_rows = self._arrays[name].chunk_layout.write_chunk.shape[0]
            for shard in range(first // shard_rows, -(-(first + len(rows)) // shard_rows)):
                (self._location.path / chunk_key(name, (shard, 0, 0, 0))).unlink(missing_ok=True)
            self._arrays[name][first : first + len(rows)].write(rows).result()

    def _flush(self) -> None:
        for future in self._syncing.values():
            future.result()
        for folder in {path.parent for path in self._syncing}:
            sync_path(folder)
        self._syncing = {}

    def _overwrite(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        overwrite_zarr(self._location, columns)

    def close(self) -> None:
        """Drop the arrays and stop the threads."""
        super().close()
        self._arrays = {}
        self._sync_pool.shutdown(wait=False, cancel_futures=True)


def _sync_and_drop_if_present(path: Path) -> None:
    """Flush a shard to the disk and drop it from the page cache; a shard of rejected rows alone was never written."""
    if path.exists():
        sync_and_drop_cache(path)


def overwrite_zarr(
    location: Location, arrays: Mapping[str, npt.NDArray[Any]], put: Callable[[str, bytes], None] | None = None
) -> None:
    """Replace whole arrays other than pixels, in the order given, each at once.

    `put`: writes an object, by its name below `location`; by default without a condition.

    Raises:
        ValueError: the shape of an array differs from its data set's.
        OSError: one cannot be written.
    """
    root = read_objects(location, [ZARR_ROOT])[ZARR_ROOT]
    if root is None:
        raise OSError(f"{location} has no {ZARR_ROOT} any more")
    store = MemoryStore({ZARR_ROOT: default_buffer_prototype().buffer.from_bytes(root)})
    group = zarr.open_group(store, mode="r+", zarr_format=3)
    for name, array in arrays.items():
        target: Any = group[name]
        if target.shape != array.shape:
            raise ValueError(f"{name} must be of shape {target.shape}, got {array.shape}")
        parts = {name: array}
        if UTF8 + name in group:  # which the text of older stores lacks
            utf8: Any = group[UTF8 + name]
            # the bytes last, as a resumed run finds by them what is written
            parts = {name: as_strings(array), UTF8 + name: as_utf8(array, utf8.shape[-1])}
        for part, values in parts.items():
            target = group[part]
            target.with_config({"write_empty_chunks": True})[...] = values.astype(target.dtype)
            key = chunk_key(part, (0,) * values.ndim)
            data = store._store_dict[key].to_bytes()
            if put is None:
                write_objects(location, {key: data})
            else:
                put(key, data)


def zero_zarr_rows(location: Location, rows: Sequence[int]) -> None:
    """Set the pixels of `rows` to 0, in a folder; a damaged shard is removed, and its other rows with it.

    Raises:
        OSError: it cannot be written.
    """
    pixels = StoreReader(location, check=False).schema.pixels
    for name, array in _open(location, pixels, tensorstore_context(remote=False)).items():
        shard_rows = array.chunk_layout.write_chunk.shape[0]
        for shard in sorted({row // shard_rows for row in rows}):
            try:
                array[[row for row in rows if row // shard_rows == shard]] = 0
            except TENSORSTORE_ERRORS as error:
                if not means_damage(error):
                    raise translate_error(error, location) from None
                write_objects(location, {chunk_key(name, (shard, 0, 0, 0)): None})
