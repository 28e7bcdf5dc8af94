"""Write whole shards of an existing Zarr store from all ranks.

A shard is one file or object with the checksum of its own index; TensorStore writes it under a temporary name and
renames it, and in a bucket a put is whole or not at all. So no lock is needed where each shard has one owner.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import tensorstore as ts
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.files import sync_path
from etl.schema import UNWRITTEN, DataSet
from etl.store.interface import Writer
from etl.store.location import is_remote, shown
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
from etl.store.zarr.reader import ZarrReader, is_torn
from etl.store.zarr.sharding import write_shard

__all__ = ["ShardWriter", "overwrite_zarr", "zero_zarr_rows"]

_SYNC_THREADS = 4
"""They wait for the disk, while the next shards are made; a disk takes several files at once."""


class Gatherer(Protocol):
    """What is needed of mpi4py's communicator."""

    rank: int
    size: int

    def gather(self, sent: Any) -> list[Any] | None:
        """Collective: what all ranks sent, on rank 0."""


def _open(path: Path, pixels: Sequence[DataSet], shared: ts.Context) -> dict[str, Any]:
    """The pixel arrays by name."""
    with translated_errors(path):
        asked = {item.name: open_array(path, item.name, shared) for item in pixels}
        return {name: future.result() for name, future in asked.items()}


class ShardWriter(Writer):
    """An existing store, open on all ranks for writing whole shards. `sync` is collective."""

    def __init__(self, path: Path, comm: Gatherer) -> None:
        """`comm` is mpi4py's. Among many ranks one thread compresses: the other cores are theirs."""
        source, schema = ZarrReader(path), StoreReader(path).schema
        self._path, self._comm = path, comm
        self._plain = {item.name for item in schema.pixels if not source.arrays[item.name].compressors}
        threads = None if comm.size == 1 else 1
        self._arrays = _open(path, schema.pixels, tensorstore_context(sync=False, threads=threads))
        self._results = {item.name for item in schema.results}
        self._shard_rows = {name: array.chunk_layout.write_chunk.shape[0] for name, array in self._arrays.items()}
        self._writing: list[tuple[str, Any]] = []
        self._made: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self._unsynced: list[Path] = []
        self._syncing: dict[Path, Future[None]] = {}
        self._disk = ThreadPoolExecutor(_SYNC_THREADS, "sync")
        self._columns = source.read_arrays(self._results) if comm.rank == 0 else {}

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Begin to write `rows`, shape (n, ...), to rows [first, first + n): whole shards. `wait` ends it.

        An uncompressed shard of a folder is written at once. Results are kept until `sync`; there, rows of state 0
        leave what is stored as it is.

        Raises:
            OSError: an uncompressed shard was not written.
        """
        if not len(rows):
            return
        if name in self._results:
            # a copy, as the caller fills the same memory again in the next round
            self._made.setdefault(first, {})[name] = rows.copy()
            return
        each, folder = self._shard_rows[name], not is_remote(self._path)
        starts = range(first, first + len(rows), each)
        shards = {self._path / chunk_key(name, (k // each, 0, 0, 0)): k for k in starts if folder}
        self._unsynced += shards
        if not folder or name not in self._plain:
            self._writing.append((name, self._arrays[name][first : first + len(rows)].write(rows)))
            return
        chunk_rows = self._arrays[name].chunk_layout.read_chunk.shape[0]
        for path, start in shards.items():
            write_shard(path, rows[start - first : start - first + each], each, chunk_rows)

    def wait(self) -> None:
        """Wait until the bytes handed over are written, and have them brought to the disk meanwhile.

        Raises:
            OSError: a shard was not.
        """
        failed = None
        for name, future in self._writing:
            try:
                future.result()
            except TENSORSTORE_ERRORS as error:
                failed = failed or translate_error(error, self._path / name)
        self._writing = []
        if failed is not None:
            raise failed
        self._syncing |= {path: self._disk.submit(_sync_and_drop_if_present, path) for path in self._unsynced}
        self._unsynced = []

    def sync(self) -> None:
        """Collective: flush the bytes of this rank's shards, then by rank 0 all ranks' results.

        Raises:
            OSError: on the ranks that could not.
        """
        problem = None
        try:
            for future in self._syncing.values():
                future.result()
            for folder in {path.parent for path in self._syncing}:
                sync_path(folder)
            self._syncing = {}
        except OSError as error:
            problem = error
        # also after an error: the other ranks are in this call
        parts = self._comm.gather(self._made if problem is None else {})
        self._made = {}
        if parts is not None and any(parts):
            for first, found in (entry for part in parts for entry in part.items()):
                made = found["state"] != UNWRITTEN
                for name, values in found.items():
                    self._columns[name][first : first + len(values)][made] = values[made]
            overwrite_zarr(self._path, dict(sorted(self._columns.items())))  # `state` is the last
        if problem is not None:
            raise problem

    def close(self) -> None:
        """Let go of the arrays."""
        self._arrays = {}
        self._disk.shutdown(wait=False, cancel_futures=True)


def _sync_and_drop_if_present(path: Path) -> None:
    """Bring a shard to the disk and out of memory; one of rejected rows alone was never written."""
    if path.exists():
        sync_and_drop_cache(path)


def overwrite_zarr(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Replace whole arrays other than pixels, in the order given, each at once.

    Raises:
        ValueError: an array has not the shape of its data set.
        OSError: one cannot be written.
    """
    root = read_objects(path, [ZARR_ROOT])[ZARR_ROOT]
    if root is None:
        raise OSError(f"{shown(path)} has no {ZARR_ROOT} any more")
    store = MemoryStore({ZARR_ROOT: default_buffer_prototype().buffer.from_bytes(root)})
    group = zarr.open_group(store, mode="r+", zarr_format=3)
    for name, array in arrays.items():
        target: Any = group[name]
        if target.shape != array.shape:
            raise ValueError(f"{name} must be of shape {target.shape}, got {array.shape}")
        target.with_config({"write_empty_chunks": True})[...] = array.astype(target.dtype)
        key = chunk_key(name, (0,) * array.ndim)
        write_objects(path, {key: store._store_dict[key].to_bytes()})


def zero_zarr_rows(path: Path, rows: Sequence[int]) -> None:
    """Set the pixels of `rows` to 0; a shard that is torn goes, and its other rows with it.

    Raises:
        OSError: it cannot be written.
    """
    for name, array in _open(path, StoreReader(path).schema.pixels, tensorstore_context()).items():
        each = array.chunk_layout.write_chunk.shape[0]
        for shard in sorted({row // each for row in rows}):
            try:
                array[[row for row in rows if row // each == shard]] = 0
            except TENSORSTORE_ERRORS as error:
                if not is_torn(error):
                    raise translate_error(error, path) from None
                write_objects(path, {chunk_key(name, (shard, 0, 0, 0)): None})
