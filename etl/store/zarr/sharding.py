"""Write and read the shards of a Zarr store in a folder as files: half of TensorStore's CPU time, and one copy less.

Source: Zarr version 3 sharding codec 1.0: chunks, then (offset, bytes) of each as little-endian uint64, then the
CRC-32C of that index; (2^64 - 1, 2^64 - 1) marks a missing chunk. c-blosc, README_HEADER: bytes 4 to 7 of a
compressed chunk are its decompressed size.
"""

import os
import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
import zarr
from numcodecs import blosc
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec, ShardingCodecIndexLocation

from etl.files import close_synced, replace_atomically
from etl.store.byte_ranges import ByteRange, in_page_cache, pread_exact, prefetch_ranges
from etl.store.errors import SHARD_IS_DAMAGED, DamagedStoreError
from etl.store.marks import shard_index
from etl.store.sync import WriteBehind
from etl.store.zarr.group import chunk_key
from etl.store.zarr.own_files import open_own_file

__all__ = ["ShardFiles", "open_shards", "write_shard"]

_MISSING_CHUNK = 2**64 - 1
_WRITE_BYTES = 1 << 23
"""Bytes of one write call; WriteBehind then drops them from the page cache."""

_OPEN_SHARDS = 256
"""Files that are kept open, each with its index: a parallel file system takes long to open one."""

_GROUP_ROWS = 64
"""Rows of a batch that are looked up together: each thread may hold as many files open beside those kept."""

_BLOSC_HEADER_BYTES = 16


def write_shard(path: Path, rows: npt.NDArray[Any], shard_rows: int, chunk_rows: int) -> None:
    """Write one uncompressed shard of `rows`, shape (n, ...), contiguous; n < `shard_rows` only at an array's end.

    It is written under a temporary name, then renamed; nothing is synced.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    padding_rows = -len(rows) % chunk_rows  # a last chunk is whole, too
    chunks = (len(rows) + padding_rows) // chunk_rows
    chunk_bytes = chunk_rows * rows[0].nbytes
    index = np.full((shard_rows // chunk_rows, 2), _MISSING_CHUNK, "<u8")
    index[:chunks, 0], index[:chunks, 1] = np.arange(chunks) * chunk_bytes, chunk_bytes
    index_bytes = shard_index(index)
    try:
        with replace_atomically(path, sync=False) as temporary, temporary.open("wb", buffering=0) as file:
            write_behind, offset = WriteBehind(file.fileno()), 0
            for part in (memoryview(rows).cast("B"), bytes(padding_rows * rows[0].nbytes) + index_bytes):
                remaining = memoryview(part)
                while len(remaining):
                    written = os.write(file.fileno(), remaining[:_WRITE_BYTES])
                    write_behind.add(offset, written)
                    remaining, offset = remaining[written:], offset + written
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def open_shards(path: Path, name: str, array: zarr.Array[Any]) -> "ShardFiles | None":
    """The shards of the pixel array `name` of the local store `path`; None if only TensorStore can read them.

    Read here: chunks of whole rows, uncompressed or of one row compressed by Blosc, the index at the shard's end.
    """
    codecs: Any = getattr(array.metadata, "codecs", ())
    if len(codecs) != 1 or not isinstance(codecs[0], ShardingCodec) or array.shards is None:
        return None
    whole_rows, first = array.chunks[1:] == array.shape[1:] == array.shards[1:], (0,) * array.ndim
    little, *compressors = codecs[0].codecs
    compressed = len(compressors) == 1 and isinstance(compressors[0], BloscCodec) and array.chunks[0] == 1
    known = (
        little == BytesCodec()
        and (compressed or not compressors)
        and codecs[0].index_codecs == (BytesCodec(), Crc32cCodec())
        and codecs[0].index_location is ShardingCodecIndexLocation.end
        and chunk_key(name, first) == f"{name}/{array.metadata.encode_chunk_key(first)}"
    )
    return ShardFiles(path, name, array.shards[0], array.chunks[0], compressed) if known and whole_rows else None


class ShardFiles:
    """A pixel array in shards along the patch axis, one file each."""

    def __init__(self, path: Path, name: str, shard_rows: int, chunk_rows: int, compressed: bool) -> None:
        """The array `name` of the store in the folder `path`: `shard_rows` rows a shard, `chunk_rows` rows a chunk.

        `compressed`: whether a chunk, then of one row, is compressed by Blosc.
        """
        self.path, self.name, self.compressed = path, name, compressed
        self.shard_rows, self.chunk_rows = shard_rows, chunk_rows
        self._open_shard = lru_cache(_OPEN_SHARDS)(_Shard)

    def read_rows(self, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out`, contiguous, shape (patch, ...), as stored, with `rows` in their order; 0 if a shard is missing.

        Raises:
            DamagedStoreError: bytes of a shard are not what was written.
            OSError: it cannot be read.
        """
        for first in range(0, len(rows), _GROUP_ROWS):
            group = slice(first, first + _GROUP_ROWS)
            self._read_group(rows[group].tolist(), out[group])

    def _read_group(self, rows: list[int], out: npt.NDArray[Any]) -> None:
        row_bytes, view = out[0].nbytes, memoryview(out).cast("B")
        locations = [self._locate(row, row_bytes) for row in rows]
        ranges = [byte_range for _, byte_range in locations if byte_range]
        if not in_page_cache(ranges):
            prefetch_ranges(ranges)
        read = _decompress_chunk if self.compressed else _read_chunk
        for k, (row, (shard, byte_range)) in enumerate(zip(rows, locations, strict=True)):
            if shard is None or byte_range is None:
                out[k] = 0  # a shard of rejected rows alone is never written
            elif not read(byte_range, view[k * row_bytes : (k + 1) * row_bytes]):
                raise _damaged(shard.path, row, row_bytes, byte_range.start)

    def _locate(self, row: int, row_bytes: int) -> "tuple[_Shard | None, ByteRange | None]":
        """The shard of a row and the row's bytes in it, each None if missing; the shard keeps its file open."""
        number, inside = divmod(row, self.shard_rows)
        path = self.path / chunk_key(self.name, (number, 0, 0, 0))
        try:
            shard = self._open_shard(path, self.shard_rows // self.chunk_rows)
        except FileNotFoundError:
            return None, None
        start, length = shard.index[inside // self.chunk_rows]
        if start == _MISSING_CHUNK:
            return shard, None
        if start + length > shard.size or not (self.compressed or length == self.chunk_rows * row_bytes):
            raise _damaged(path, row, row_bytes, start)
        if self.compressed:
            return shard, ByteRange(shard.fd, start, length)
        return shard, ByteRange(shard.fd, start + inside % self.chunk_rows * row_bytes, row_bytes)


def _damaged(path: Path, row: int, row_bytes: int, start: int) -> DamagedStoreError:
    return DamagedStoreError(f"{path}: row {row} must be {row_bytes} bytes, at byte {start}; {SHARD_IS_DAMAGED}")


def _read_chunk(chunk: ByteRange, out: memoryview) -> bool:
    """Read the bytes of `chunk` into `out`; False if the file does not hold them."""
    return chunk.length == len(out) and pread_exact(chunk.fd, out, chunk.start)


def _decompress_chunk(chunk: ByteRange, out: memoryview) -> bool:
    """Decompress the Blosc chunk in the bytes of `chunk` into `out`; False if it is not one, or of another size."""
    raw = bytearray(chunk.length)
    if chunk.length < _BLOSC_HEADER_BYTES or not pread_exact(chunk.fd, memoryview(raw), chunk.start):
        return False
    if int.from_bytes(raw[4:8], "little") != len(out):
        return False
    try:
        blosc.decompress(raw, out)
    except RuntimeError:
        return False
    return True


class _Shard:
    """A shard with its index, open for reading; closed when its last reference is gone."""

    def __init__(self, path: Path, chunks: int) -> None:
        self.path = path
        self.fd = open_own_file(path)
        weakref.finalize(self, close_synced, self.fd).atexit = False
        self.size, index_bytes = os.fstat(self.fd).st_size, 16 * chunks + 4
        raw = bytearray(min(index_bytes, self.size))
        whole = len(raw) == index_bytes and pread_exact(self.fd, memoryview(raw), self.size - index_bytes)
        if not whole or google_crc32c.value(bytes(raw[:-4])) != int.from_bytes(raw[-4:], "little"):
            raise DamagedStoreError(
                f"{path}: its last {index_bytes} bytes must be the index of {chunks} chunks; {SHARD_IS_DAMAGED}"
            )
        self.index: list[list[int]] = np.frombuffer(raw, "<u8", 2 * chunks).reshape(chunks, 2).tolist()
