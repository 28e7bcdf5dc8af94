"""Write whole shards of a Zarr store in a bucket from all ranks, each on a condition (`etl.store.fencing`).

TensorStore cannot put a shard on a condition. So it writes into memory, and the bytes are put from there.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from etl.store.fencing import FencedObjects
from etl.store.location import Location
from etl.store.marks import empty_shard, mark_shard, mark_zstd
from etl.store.object_store import read_objects, tensorstore_context, translated_errors
from etl.store.zarr.group import ZARR_ROOT, chunk_key
from etl.store.zarr.writer import ShardWriter, overwrite_zarr

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["BucketWriter", "ShardEncoder", "overwrite_columns"]


class ShardEncoder:
    """Pixel arrays of a store in memory, by which rows become the bytes of a shard."""

    def __init__(self, location: Location, names: Iterable[str], threads: int | None = None) -> None:
        """The arrays `names` of the store at `location`.

        Raises:
            OSError: their metadata cannot be read.
        """
        context = tensorstore_context(remote=False, threads=threads)
        keys = {name: f"{name}/{ZARR_ROOT}" for name in names}
        metadata = read_objects(location, keys.values())
        with translated_errors(location):
            self._memory = ts.KvStore.open({"driver": "memory"}, context=context).result()
            self.arrays: dict[str, Any] = {}
            for name, key in keys.items():
                self._memory.write(key, metadata[key]).result()
                spec = {"driver": "zarr3", "kvstore": {"driver": "memory", "path": f"{name}/"}}
                self.arrays[name] = ts.open(spec, open=True, context=context).result()

    def shard_rows(self, name: str) -> int:
        """Rows of a shard, or of a chunk without shards."""
        return int(self.arrays[name].chunk_layout.write_chunk.shape[0])

    def has_shards(self, name: str) -> bool:
        """Whether an array has shards, with the index at their end."""
        codec = self.arrays[name].spec().to_json()["metadata"]["codecs"][0]
        index_at = codec["configuration"].get("index_location", "end") if codec["name"] == "sharding_indexed" else ""
        return bool(index_at == "end")

    def chunks(self, name: str) -> int:
        """Chunks of a shard."""
        layout = self.arrays[name].chunk_layout
        return int(np.prod(np.floor_divide(layout.write_chunk.shape, layout.read_chunk.shape)))

    def load(self, name: str, shard: int, data: bytes) -> None:
        """Hold the bytes of a shard."""
        self._memory.write(chunk_key(name, (shard, 0, 0, 0)), data).result()

    def take(self, name: str, shard: int) -> bytes | None:
        """The bytes of a shard, which are held no longer; None if all its values are 0."""
        key = chunk_key(name, (shard, 0, 0, 0))
        found = self._memory.read(key).result()
        self._memory.write(key, None).result()
        return bytes(found.value) if found.state == "value" else None


class BucketWriter(ShardWriter):
    """A store in a bucket."""

    def __init__(self, location: Location, comm: "MPI.Intracomm", objects: FencedObjects) -> None:
        """Collective; `objects`: those beside the store, with the generations that rank 0 knows.

        With several ranks only one thread compresses: other ranks use the other cores.
        """
        objects.share(comm)  # first, as all ranks take part
        super().__init__(location, comm)
        self._objects = objects
        self._encoder = ShardEncoder(location, self._metadata, None if comm.size == 1 else 1)
        self._has_shards = {name for name in self._metadata if self._encoder.has_shards(name)}
        self._writing: list[tuple[str, range, Any]] = []

    def _write_pixels(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        shard_rows, stop = self._encoder.shard_rows(name), first + len(rows)
        shards = range(first // shard_rows, -(-stop // shard_rows))
        self._writing.append((name, shards, self._encoder.arrays[name][first:stop].write(rows)))

    def wait(self) -> None:
        """Wait until all shards are in the bucket.

        Raises:
            TakenOverError: another run has taken over.
            OSError: a shard was not written.
        """
        self._objects.require_not_lost()
        writing, self._writing = self._writing, []
        objects: dict[str, bytes] = {}
        with translated_errors(self._location):
            for name, shards, future in writing:
                future.result()
                for shard in shards:
                    data = self._encoder.take(name, shard)
                    if name in self._has_shards:
                        chunks = self._encoder.chunks(name)
                        data = mark_shard(empty_shard(chunks) if data is None else data, chunks)
                    if data is not None:  # without shards, a chunk of zeros is left out
                        objects[f"{self._location.name}/{chunk_key(name, (shard, 0, 0, 0))}"] = data
        self._objects.put(objects)

    def _flush(self) -> None:
        """Do nothing: a put returns when the server has the bytes."""

    def _gather(self, results: dict[int, dict[str, npt.NDArray[Any]]]) -> list[dict[int, dict[str, npt.NDArray[Any]]]]:
        parts = self._comm.gather((results, self._objects.take_new())) or []
        for _, generations in parts:
            self._objects.add(generations)
        return [results for results, _ in parts]

    def _overwrite(self, columns: Mapping[str, npt.NDArray[Any]]) -> None:
        overwrite_columns(self._location, columns, self._objects)

    def close(self) -> None:
        """Drop the arrays."""
        super().close()
        self._encoder.arrays = {}


def overwrite_columns(location: Location, arrays: Mapping[str, npt.NDArray[Any]], objects: FencedObjects) -> None:
    """Replace whole arrays other than pixels of the store at `location`, in the order given, each at once.

    Raises:
        TakenOverError: another run has taken over.
        OSError: one cannot be written.
    """
    overwrite_zarr(location, arrays, lambda key, data: objects.put({f"{location.name}/{key}": mark_zstd(data)}))
