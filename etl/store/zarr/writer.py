"""Write whole shards of an existing Zarr store from all ranks.

A shard is one file or object with the checksum of its own index; TensorStore writes it under a temporary name and
renames it, and in a bucket a put is whole or not at all. So no lock is needed where each shard has one owner.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy.typing as npt
import tensorstore as ts

from etl.schema import UNWRITTEN, DataSet
from etl.store.location import is_remote, shown
from etl.store.object_store import (
    TENSORSTORE_ERRORS,
    open_array,
    tensorstore_context,
    translate_error,
    translated_errors,
    write_objects,
)
from etl.store.reader import StoreReader
from etl.store.sync import give_up, sync_folder
from etl.store.zarr.create import overwrite_zarr
from etl.store.zarr.group import chunk_key, load_group, zarr_array
from etl.store.zarr.reader import ZarrSource, is_torn
from etl.store.zarr.sharding import write_shard

__all__ = ["ShardWriter", "shard_rows_of", "zero_zarr_rows"]

_SYNC_THREADS = 4
"""They wait for the disk, while the next shards are made; a disk takes several files at once."""


class Gatherer(Protocol):
    """What is needed of mpi4py's communicator."""

    rank: int
    size: int

    def gather(self, sent: Any) -> list[Any] | None:
        """Collective: what all ranks sent, on rank 0."""


def shard_rows_of(path: Path) -> int:
    """Patches of one shard of an existing store.

    Raises:
        ValueError: there is no such store.
    """
    group = load_group(path, ())
    item = group.get("data_10m")
    shards = getattr(item, "shards", None)
    if not shards:
        raise ValueError(f"{shown(path)} must be a store of etl.extract; it has no sharded data_10m")
    return int(shards[0])


def _open(path: Path, pixels: Sequence[DataSet], shared: ts.Context) -> dict[str, Any]:
    """The pixel arrays by name."""
    with translated_errors(path):
        asked = {item.name: open_array(path, item.name, shared) for item in pixels}
        return {name: future.result() for name, future in asked.items()}


class ShardWriter:
    """An existing store, open on all ranks for writing whole shards. `sync` is collective."""

    def __init__(self, path: Path, comm: Gatherer) -> None:
        """`comm` is mpi4py's. Among many ranks one thread compresses: the other cores are theirs."""
        group = load_group(path, ())
        schema = StoreReader(path).schema
        self._path, self._comm = path, comm
        self._plain = {item.name for item in schema.pixels if not zarr_array(group, item.name).compressors}
        context = tensorstore_context(sync=False, threads=None if comm.size == 1 else 1)
        self._arrays = _open(path, schema.pixels, context)
        self._results = {item.name for item in schema.results}
        self._shard_rows = {name: array.chunk_layout.write_chunk.shape[0] for name, array in self._arrays.items()}
        self._writing: list[tuple[str, Any]] = []
        self._made: dict[int, dict[str, npt.NDArray[Any]]] = {}
        self._unsynced: list[Path] = []
        self._folders: set[Path] = set()
        self._syncing: list[Future[None]] = []
        self._disk = ThreadPoolExecutor(_SYNC_THREADS, "sync")
        self._columns = ZarrSource(path).read_arrays(self._results) if comm.rank == 0 else {}

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Begin to write `rows`, shape (n, ...), to rows [first, first + n): whole shards. `drain` ends it.

        An uncompressed shard of a folder is written at once. Results are kept until `sync`; there, rows of state 0
        leave what is stored as it is.

        Raises:
            OSError: an uncompressed shard was not written.
        """
        if not len(rows):
            return
        if name in self._results:
            self._made.setdefault(first, {})[name] = rows.copy()
            return
        if is_remote(self._path):
            self._writing.append((name, self._arrays[name][first : first + len(rows)].write(rows)))
            return
        each, layout = self._shard_rows[name], self._arrays[name].chunk_layout
        shards = {self._path / chunk_key(name, (k // each, 0, 0, 0)): k for k in range(first, first + len(rows), each)}
        self._unsynced += shards
        if name not in self._plain:
            self._writing.append((name, self._arrays[name][first : first + len(rows)].write(rows)))
            return
        for path, start in shards.items():
            write_shard(path, rows[start - first : start - first + each], each, layout.read_chunk.shape[0])

    def drain(self) -> None:
        """Wait until what was handed over is written, and have it brought to the disk meanwhile.

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
        self._syncing += [self._disk.submit(_settle_if_there, path) for path in self._unsynced]
        self._folders |= {path.parent for path in self._unsynced}
        self._unsynced = []

    def sync(self) -> None:
        """Collective: bring this rank's shards to the disk, then all ranks' results, by rank 0.

        Raises:
            OSError: on the ranks that could not.
        """
        problem = self._sync_shards()
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

    def _sync_shards(self) -> OSError | None:
        try:
            for future in self._syncing:
                future.result()
            for folder in self._folders:
                sync_folder(folder)
        except OSError as error:
            return error
        self._syncing, self._folders = [], set()
        return None

    def close(self) -> None:
        """Let go of the arrays."""
        self._arrays = {}
        self._disk.shutdown(wait=False, cancel_futures=True)


def _settle_if_there(path: Path) -> None:
    """Bring a shard to the disk and out of memory; one of rejected rows alone was never written."""
    if path.exists():
        give_up(path)


def zero_zarr_rows(path: Path, rows: Sequence[int]) -> None:
    """Set the pixels of `rows` to 0; a shard that is torn goes, and its other rows with it.

    Raises:
        OSError: it cannot be written.
    """
    schema = StoreReader(path).schema
    for name, array in _open(path, schema.pixels, tensorstore_context()).items():
        each = array.chunk_layout.write_chunk.shape[0]
        for shard in sorted({row // each for row in rows}):
            try:
                array[[row for row in rows if row // each == shard]] = 0
            except TENSORSTORE_ERRORS as error:
                if not is_torn(error):
                    raise translate_error(error, path) from None
                write_objects(path, {chunk_key(name, (shard, 0, 0, 0)): None})
