"""Read a Zarr store, in a folder or a bucket: shards of known kinds as files, all others through TensorStore."""

import re
from collections.abc import Iterable
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from etl.store.errors import SHARD_IS_DAMAGED, DamagedStoreError
from etl.store.location import Location
from etl.store.object_store import TENSORSTORE_ERRORS, list_objects, open_array, tensorstore_context, translate_error
from etl.store.zarr.group import load_group, read_columns, read_strings, touched_keys
from etl.store.zarr.own_files import require_own_files
from etl.store.zarr.sharding import ShardFiles, open_shards

__all__ = ["ZarrReader", "means_damage"]

_CACHE_BYTES = 64 << 20
"""Memory for shard indexes, and for chunks that hold more rows than are asked for."""

_DAMAGE = re.compile(r"DATA_LOSS|OUT_OF_RANGE|Digest mismatch|INVALID_ARGUMENT|FAILED_PRECONDITION")


def means_damage(error: Exception) -> bool:
    """Whether an error of TensorStore means that the bytes of a shard are not what was written."""
    return bool(_DAMAGE.search(str(error)))


def _names_in(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()


class ZarrReader:
    """The arrays of a Zarr store."""

    in_chunks = False

    def __init__(self, location: Location) -> None:
        """Look up every array.

        Raises:
            ValueError: there is no Zarr version 3 store with consolidated metadata.
            OSError: it cannot be read.
        """
        self._location = location
        self._group = load_group(location)
        self.attributes, self.arrays = self._group.attributes, self._group.arrays
        self._shard_files, self._tensorstore = cache(self._open_shard_files), cache(self._open_tensorstore)

    def read_arrays(self, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Whole arrays other than pixels, by name, in their stored shape and dtype.

        Raises:
            KeyError: the store has none of that name.
            ValueError: bytes of an array are not what was written.
            OSError: one cannot be read.
        """
        return read_columns(self._location, self._group, names)

    def read_strings(self, name: str) -> list[str] | None:
        """The values of an array of text in its copy of strings; None if there is no such copy.

        Raises:
            ValueError: its bytes are not what was written.
            OSError: it cannot be read.
        """
        return read_strings(self._location, self._group, name)

    def axis_names(self, name: str) -> list[tuple[str, ...]]:
        """The dimension name of each axis of an array, as a tuple of at most one."""
        array: Any = self.arrays[name]
        return [(dim,) if dim else () for dim in array.metadata.dimension_names or (None,) * array.ndim]

    def read_rows(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out`, contiguous, shape (patch, ...), as stored, with `rows` of a pixel array; 0 if a shard is missing.

        Raises:
            DamagedStoreError: bytes of a shard are not what was written.
            OSError: it cannot be read.
        """
        if (shard_files := self._shard_files(name)) is not None:
            shard_files.read_rows(rows, out)
            return
        require_own_files(self._location, touched_keys(name, self._group.metadata[name], rows))
        try:
            ts.array(out).write(self._tensorstore(name)[rows]).result()
        except TENSORSTORE_ERRORS as error:
            translated = translate_error(error, self._location / name)
            if means_damage(error):
                translated = DamagedStoreError(f"{translated}; {SHARD_IS_DAMAGED}")
            raise translated from None

    def missing_shards(self, name: str, rows: npt.NDArray[np.int64]) -> dict[str, int]:
        """Names of the objects that hold `rows` of a pixel array and are not there, each with the first of its rows.

        Raises:
            OSError: they cannot be listed.
        """
        there = (
            list_objects(self._location / name) if self._location.is_remote else _names_in(self._location.path / name)
        )
        array = self._group.metadata[name]
        _, firsts = np.unique(rows // array.chunk_shape[0], return_index=True)
        keys = {key: int(rows[k]) for k in firsts for key in touched_keys(name, array, rows[k : k + 1])}
        return {key: row for key, row in keys.items() if key.removeprefix(f"{name}/") not in there}

    def close(self) -> None:
        """Drop the arrays, and with them the open shards."""
        self._shard_files.cache_clear()
        self._tensorstore.cache_clear()

    def _open_shard_files(self, name: str) -> ShardFiles | None:
        """The shards of a pixel array; None if they are in a bucket or of a kind that only TensorStore reads."""
        return None if self._location.is_remote else open_shards(self._location.path, name, self.arrays[name])

    def _open_tensorstore(self, name: str) -> ts.TensorStore:
        """A pixel array, open in TensorStore."""
        # Cached bytes, above all indexes of shards, are not compared with the store again at each read.
        no_recheck = {"recheck_cached_metadata": "open", "recheck_cached_data": "open"}
        metadata = self._group.metadata[name].for_tensorstore
        array: ts.TensorStore = open_array(
            self._location, name, self._context, metadata=metadata, **no_recheck
        ).result()
        return array

    @cached_property
    def _context(self) -> ts.Context:
        return tensorstore_context(self._location.is_remote, cache_bytes=_CACHE_BYTES)
