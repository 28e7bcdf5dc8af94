"""Pixel rows of a Zarr store: of our own kinds of shards in a folder by offset, of all others by TensorStore.

TensorStore reads and unpacks the chunks of a batch side by side, then copies each to where it belongs; read, or
unpacked by Blosc, to that place at once, a row costs a copy less. Loaded only where a Zarr store is named.

Source: Zarr version 3 sharding codec 1.0: chunks, then (offset, bytes) of each as little-endian uint64, then the
CRC-32C of that index; 2^64 - 1 twice for a chunk that is not there.
"""

import os
import weakref
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import tensorstore as ts
from numcodecs import blosc
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec, ShardingCodecIndexLocation

from etl.store.location import is_remote
from etl.store.object_store import chunk_key, context, explained, item_of, load, open_array
from trainer.row_file import Spot, announce, are_in_memory, fill

__all__ = ["load", "read"]

_CACHE_BYTES = 64 << 20
_OPEN_SHARDS = 256
"""Files that are kept open, each with its index; a parallel file system takes long to open one."""
_TOGETHER = 64
"""Rows of a batch that are looked up and announced together: each reader may hold as many files open beside those."""

_ABSENT = 2**64 - 1

_BLOSC_HEADER_BYTES = 16
"""Source: c-blosc, README_HEADER: bytes 4 to 7 are the size of what was packed."""


def read(path: Path, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
    """Fill `out`, shape (patch, row, col, band), with patches `rows` of the pixel array `name`, in their order.

    Raises:
        OSError: a shard is torn, or cannot be reached.
    """
    cut = _cut(path, name)
    if cut is not None:
        cut.read(rows, out)
        return
    with explained(path):
        ts.array(out).write(_opened(path, name)[rows]).result()


@cache
def _shared() -> ts.Context:
    return context(cache_bytes=_CACHE_BYTES)


@cache
def _opened(path: Path, name: str) -> Any:
    """A pixel array; what was read once of a complete store, indexes of shards above all, is not looked up again."""
    once = {"recheck_cached_metadata": "open", "recheck_cached_data": "open"}
    return open_array(path, name, _shared(), **once).result()


@cache
def _cut(path: Path, name: str) -> "_Cut | None":
    """How a pixel array lies in files; None where only TensorStore can tell."""
    if is_remote(path):
        return None
    array = item_of(load(path, ()), name)
    codecs: Any = getattr(array.metadata, "codecs", ())
    if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec) or array.shards is None:
        return None
    whole_rows, first = array.chunks[1:] == array.shape[1:] == array.shards[1:], (0,) * array.ndim
    little, *packing = codecs[0].codecs
    packed = len(packing) == 1 and isinstance(packing[0], BloscCodec) and array.chunks[0] == 1
    as_ours = (
        little == BytesCodec()
        and (packed or not packing)
        and codecs[0].index_codecs == (BytesCodec(), Crc32cCodec())
        and codecs[0].index_location is ShardingCodecIndexLocation.end
        and chunk_key(name, first) == f"{name}/{array.metadata.encode_chunk_key(first)}"
    )
    return _Cut(path, name, array.shards[0], array.chunks[0], packed) if as_ours and whole_rows else None


@dataclass(frozen=True, slots=True)
class _Cut:
    """An array in shards along the patch axis, uncompressed or, row by row, packed by Blosc."""

    path: Path
    name: str
    shard_rows: int
    chunk_rows: int
    packed: bool

    def read(self, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
        """As `read` of this module."""
        for first in range(0, len(rows), _TOGETHER):
            together = slice(first, first + _TOGETHER)
            self._read_together(rows[together].tolist(), out[together])

    def _read_together(self, rows: list[int], out: npt.NDArray[np.uint16]) -> None:
        row_bytes, view = out[0].nbytes, memoryview(out).cast("B")
        found = [self._find(row, row_bytes) for row in rows]
        spots = [spot for _, spot in found if spot]
        if not are_in_memory(spots):
            announce(spots)
        for place, (row, (shard, spot)) in enumerate(zip(rows, found, strict=True)):
            if shard is None or spot is None:
                out[place] = 0  # rejected rows alone
                continue
            file, start, length = spot
            part = view[place * row_bytes : (place + 1) * row_bytes]
            if not (_unpack(file, start, length, part) if self.packed else fill(file, part, start)):
                raise OSError(_torn(shard.path, row, row_bytes, start))

    def _find(self, row: int, row_bytes: int) -> "tuple[_Shard | None, Spot | None]":
        """The shard of a row, open while it is held, and where the row, packed or not, lies; None if it is not there.

        Raises:
            OSError: an uncompressed chunk has not the size of its rows.
        """
        number, inside = divmod(row, self.shard_rows)
        path = self.path / chunk_key(self.name, (number, 0, 0, 0))
        shard = _shard_if_there(path, self.shard_rows // self.chunk_rows)
        if shard is None:
            return None, None
        start, length = shard.index[inside // self.chunk_rows]
        if start == _ABSENT:
            return shard, None
        if self.packed:
            return shard, (shard.file, start, length)
        if length != self.chunk_rows * row_bytes:
            raise OSError(_torn(path, row, row_bytes, start))
        return shard, (shard.file, start + inside % self.chunk_rows * row_bytes, row_bytes)


def _torn(path: Path, row: int, row_bytes: int, start: int) -> str:
    return f"{path} is torn: row {row} must be {row_bytes} bytes, at byte {start}"


def _unpack(file: int, start: int, length: int, part: memoryview) -> bool:
    """Fill `part` with what the chunk of `length` bytes at `start` holds; whether it is a chunk of that size."""
    raw = bytearray(length)
    if length < _BLOSC_HEADER_BYTES or not fill(file, memoryview(raw), start):
        return False
    if int.from_bytes(raw[4:8], "little") != len(part):
        return False
    try:
        blosc.decompress(raw, part)
    except RuntimeError:
        return False
    return True


class _Shard:
    """A shard, open for reading; closed when nobody holds it any more."""

    def __init__(self, path: Path, chunks: int) -> None:
        self.path = path
        self.file = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self.file).atexit = False
        raw = bytearray(16 * chunks + 4)
        whole = fill(self.file, memoryview(raw), os.fstat(self.file).st_size - len(raw))
        if not whole or google_crc32c.value(bytes(raw[:-4])) != int.from_bytes(raw[-4:], "little"):
            raise OSError(f"{path} is torn: its last {len(raw)} bytes must be the index of {chunks} chunks")
        self.index: list[list[int]] = np.frombuffer(raw, "<u8", 2 * chunks).reshape(chunks, 2).tolist()


@lru_cache(_OPEN_SHARDS)
def _shard(path: Path, chunks: int) -> _Shard:
    return _Shard(path, chunks)


def _shard_if_there(path: Path, chunks: int) -> _Shard | None:
    try:
        return _shard(path, chunks)
    except FileNotFoundError:
        return None
