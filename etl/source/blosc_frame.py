"""Decode a part of a Blosc buffer, the compressed form of an array's chunk, from the bytes of that part alone.

A Blosc buffer is a header, the place of each block, and the blocks, which are compressed one by one. A part of it is
decoded as a shorter buffer: the same header and the wanted blocks, handed to numcodecs.

Source: c-blosc 1.21, README_CHUNK_FORMAT.rst.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["BloscFrame", "read_blosc_frame"]

Read = Callable[[int, int], bytes]
"""Bytes of a buffer, from an offset, fewer at its end."""

_HEADER = struct.Struct("<BBBBIII")
"""Version, version of the inner format, flags, bytes of an item, and bytes of all, of a block, and of the buffer."""

_STORED = 0x02
"""Flag of a buffer whose blocks are not compressed, and have no places."""

_MOST_BYTES = 512 << 20
"""Most bytes of a decoded chunk: a band of 10 m without division has 241 MB."""

_LEAST_BLOCK_BYTES = 128

_HEAD_BYTES = 4096
"""Bytes that are read first: those of real chunks hold the places of all blocks."""

_MOST_OVERHEAD_BYTES = 2048
"""Most bytes by which a block can grow: four for each stream, of which there are at most 255."""

_GAP_BYTES = 8192
"""Most bytes between two blocks that are read with them: another request would take longer."""


@dataclass(frozen=True, slots=True, eq=False)
class BloscFrame:
    """Header of a Blosc buffer, and where its blocks are."""

    header: tuple[int, int, int, int]
    """Its first four bytes."""

    size_bytes: int
    """Bytes of the decoded chunk."""

    block_bytes: int
    """Bytes of a decoded block; the last one may have fewer."""

    buffer_bytes: int
    """Bytes of the buffer."""

    starts: npt.NDArray[np.int64]
    """Where each block begins in the buffer, shape (block,), in any order; shape (0,) if they are not compressed."""

    stops: npt.NDArray[np.int64]
    """Where each block ends, at the latest, shape as `starts`."""

    def read(self, read: Read, start: int, stop: int) -> bytes | memoryview:
        """Decoded bytes [start, stop) of the chunk, which must lie in it; `read` gives bytes of the buffer.

        Raises:
            ValueError: the buffer ends before them, or is damaged there.
        """
        if not len(self.starts):
            data = read(_HEADER.size + start, stop - start)
            if len(data) < stop - start:
                raise ValueError(f"it ends within its bytes {start} to {stop}")
            return data
        first, last = start // self.block_bytes, (stop - 1) // self.block_bytes
        if last == len(self.starts) - 1 and first == last > 0:
            first -= 1  # a buffer must not be shorter than its blocks, which the last block alone can be
        size = min(self.size_bytes, (last + 1) * self.block_bytes) - first * self.block_bytes
        places, pieces = self._pieces(read, first, last)
        places += _HEADER.size + 4 * len(places)
        total = _HEADER.size + 4 * len(places) + sum(map(len, pieces))
        part = b"".join(
            (_HEADER.pack(*self.header, size, self.block_bytes, total), places.astype("<i4").tobytes(), *pieces)
        )
        from numcodecs import blosc  # only for products in Zarr

        try:
            decoded = memoryview(blosc.decompress(part))
        except RuntimeError as error:
            raise ValueError(f"it is damaged in its blocks {first} to {last}: {error}") from None
        return decoded[start - first * self.block_bytes : stop - first * self.block_bytes]

    def _pieces(self, read: Read, first: int, last: int) -> tuple[npt.NDArray[np.int64], list[bytes]]:
        """Where each of the blocks `first` to `last` begins in bytes of theirs, and these, read in few pieces."""
        blocks = np.arange(first, last + 1)[np.argsort(self.starts[first : last + 1], kind="stable")]
        starts, stops = self.starts[blocks], self.stops[blocks]
        edges = [0, *(np.flatnonzero(starts[1:] - stops[:-1] > _GAP_BYTES) + 1).tolist(), len(blocks)]
        places, pieces, total = np.empty(len(blocks), np.int64), list[bytes](), 0
        for at, end in pairwise(edges):
            begin, size = int(starts[at]), int(stops[end - 1] - starts[at])
            data = read(begin, size)
            if len(data) < size:
                raise ValueError(f"it must have {self.buffer_bytes} bytes, but ends at byte {begin + len(data)}")
            places[blocks[at:end] - first] = total + starts[at:end] - begin
            pieces.append(data)
            total += size
        return places, pieces


def read_blosc_frame(read: Read, size: int) -> BloscFrame:
    """Header and places of the blocks of a Blosc buffer that must decode to `size` bytes.

    Raises:
        ValueError: it is none, it decodes to another number of bytes, or its blocks lie outside of it.
    """
    head = read(0, _HEAD_BYTES)
    if len(head) < _HEADER.size:
        raise ValueError(f"it must begin with the {_HEADER.size} bytes of Blosc's header, got {len(head)}")
    *first, size_bytes, block_bytes, buffer_bytes = _HEADER.unpack_from(head)
    header = (first[0], first[1], first[2], first[3])
    if size_bytes != size or size > _MOST_BYTES:
        raise ValueError(f"it must decode to {size} bytes, at most {_MOST_BYTES}, its header claims {size_bytes}")
    if header[0] != 2:
        raise ValueError(f"it must be of version 2 of Blosc's format, got {header[0]}")
    if buffer_bytes > size_bytes + size_bytes // 8 + _HEAD_BYTES:
        raise ValueError(f"it must have about {size_bytes} bytes at most, its header claims {buffer_bytes}")
    if header[2] & _STORED:
        return BloscFrame(header, size_bytes, block_bytes, buffer_bytes, *np.empty((2, 0), np.int64))
    if not _LEAST_BLOCK_BYTES <= block_bytes <= size_bytes:
        raise ValueError(
            f"its blocks must have {_LEAST_BLOCK_BYTES} to {size_bytes} bytes, its header claims {block_bytes}"
        )
    blocks = -(-size_bytes // block_bytes)
    if len(head) < _HEADER.size + 4 * blocks:
        head = read(0, _HEADER.size + 4 * blocks)
    table = head[_HEADER.size : _HEADER.size + 4 * blocks]
    starts = np.frombuffer(table[: len(table) // 4 * 4], "<i4").astype(np.int64)
    if len(starts) < blocks or starts.min() < _HEADER.size + 4 * blocks or starts.max() >= buffer_bytes:
        raise ValueError(f"it must give the places of its {blocks} blocks within its {buffer_bytes} bytes")
    # threads write blocks in the order in which they are done: each ends where the next one of the buffer begins
    edges = np.append(np.unique(starts), buffer_bytes)
    stops = np.minimum(edges[np.searchsorted(edges, starts, side="right")], starts + block_bytes + _MOST_OVERHEAD_BYTES)
    return BloscFrame(header, size_bytes, block_bytes, buffer_bytes, starts, stops)
