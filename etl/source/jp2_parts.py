"""Where the tiles of a JPEG 2000 file lie in it, so that some of them can be fetched and decoded without the others.

A code stream is a main header and tile-parts, one or several a tile, each with its length. Main header and the parts of
some tiles are a code stream of their own, which a decoder reads like the whole. The lengths are in the main header
(TLM markers, in Sentinel-2's files since February 2026), or else at the beginning of each part.

Source: ISO/IEC 15444-1, annex A: markers SOC, SIZ, TLM, PLM, PPM, SOT, EOC.
"""

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from etl.files import replace_atomically
from etl.grid import PixelWindow
from etl.raster_limits import Jp2Header, read_jp2_header

__all__ = ["Jp2Parts", "index_jp2"]

Read = Callable[[int, int], bytes]
"""Bytes of a file, from an offset, fewer at its end."""

_TLM, _PLM, _PPM, _SOT, _EOC = 0xFF55, 0xFF57, 0xFF60, 0xFF90, b"\xff\xd9"
_SOT_BYTES = 12
_HEAD_BYTES = 16 << 10
"""Bytes that are read first: those of real files hold the whole main header, and the boxes before it."""

_MOST_HEAD_BYTES = 1 << 20
"""Most bytes up to the end of the main header."""

_MOST_PARTS_OF_TILE = 32
"""Most tile-parts of a tile, on average: real files have one."""


@dataclass(frozen=True, eq=False)  # no slots: `size` is kept
class Jp2Parts:
    """The header of a JPEG 2000 file, and where its tile-parts are."""

    head: bytes
    """The file up to its first tile-part: boxes, which say where the image lies, and the main header."""

    start: int
    """Where the code stream begins in `head`."""

    tile: npt.NDArray[np.int64]
    """Number of the tile of each part, row by row, in the order of the file, shape (part,)."""

    offset: npt.NDArray[np.int64]
    """Where each part begins in the file."""

    length: npt.NDArray[np.int64]
    """Its bytes."""

    @cached_property
    def size(self) -> Jp2Header:
        """Size of image and tiles."""
        head = self.head + struct.pack(">HH", _SOT, _SOT_BYTES - 2)  # by which the end of a main header is known
        header = read_jp2_header(lambda offset, size: head[offset : offset + size], lambda: 1 << 62)
        if header is None:
            raise ValueError("it must be JPEG 2000")
        return header

    def tiles_in(self, window: PixelWindow) -> Iterator[tuple[PixelWindow, tuple[int, ...]]]:
        """The part of each tile that a window of the image touches, and the numbers of the tile's parts, ascending."""
        size = self.size
        height, width, across = size.tile_rows, size.tile_columns, -(-size.columns // size.tile_columns)
        for row in range(window.row // height, (window.row + window.height - 1) // height + 1):
            for column in range(window.col // width, (window.col + window.width - 1) // width + 1):
                tile = PixelWindow(row * height, column * width, height, width)
                yield window.intersection(tile), tuple(np.flatnonzero(self.tile == row * across + column).tolist())

    def begins(self, number: int, data: bytes) -> bool:
        """Whether `data` begins like the part with this number: by its marker and the number of its tile."""
        return data[:6] == struct.pack(">HHH", _SOT, _SOT_BYTES - 2, int(self.tile[number]))

    def stream(self, parts: bytes) -> bytes:
        """A code stream of the main header and some parts, without what tells of the others."""
        kept, at = [self.head[self.start : self.start + 2]], self.start + 2
        while at < len(self.head):
            marker, length = struct.unpack_from(">HH", self.head, at)
            if marker not in (_TLM, _PLM):
                kept.append(self.head[at : at + 2 + length])
            at += 2 + length
        return b"".join((*kept, parts, _EOC))

    def save(self, path: Path) -> None:
        """Write it to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(path, sync=False, concurrent=True) as temporary, temporary.open("wb") as file:
            head = np.frombuffer(self.head, np.uint8)
            np.savez(file, head=head, start=self.start, tile=self.tile, offset=self.offset, length=self.length)

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read it from a file; None if there is none, or no whole one."""
        try:
            with np.load(path, allow_pickle=False) as file:
                fields: dict[str, Any] = {name: file[name] for name in ("tile", "offset", "length")}
                return cls(head=file["head"].tobytes(), start=int(file["start"]), **fields)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None


def index_jp2(read: Read, size: int) -> Jp2Parts:
    """Read the header of a JPEG 2000 file of `size` bytes, and where its tile-parts are.

    That takes one request, and one for each tile-part if there are no TLM markers.

    Raises:
        ValueError: it is no such file, it is broken or cut, or its header claims more than any real file has.
        OSError: it cannot be read.
    """
    head = read(0, min(size, _HEAD_BYTES))

    def buffered(offset: int, count: int) -> bytes:
        nonlocal head
        if offset + count > len(head) and len(head) < min(size, _MOST_HEAD_BYTES):
            head += read(len(head), min(max(4 * len(head), offset + count - len(head)), size - len(head)))
        return head[offset : offset + count]

    header = read_jp2_header(buffered, lambda: size)
    if header is None:
        raise ValueError("it must be JPEG 2000")
    if not header.is_at_origin:
        raise ValueError("its image and tiles must begin at the corner of their reference grid")
    start = header.start
    at, lengths = start + 2, list[tuple[int, int]]()
    while True:
        word = buffered(at, 4)
        if len(word) < 4:
            raise ValueError(f"its main header must end within {_MOST_HEAD_BYTES} bytes")
        marker, length = struct.unpack(">HH", word)
        if marker == _SOT:
            break
        if marker == _PPM:
            raise ValueError("it must have packet headers in its tile-parts, got them in the main header (PPM)")
        if marker == _TLM:
            lengths += _tlm(buffered(at + 4, length - 2))
        at += 2 + length
    head = head[:at]
    if sum(length for _, length in lengths) != size - at - len(_EOC) or any(tile < 0 for tile, _ in lengths):
        lengths = _walk(read, at, size, _MOST_PARTS_OF_TILE * header.tiles)
    tile, length_ = np.array(lengths, np.int64).reshape(-1, 2).T
    parts = Jp2Parts(head, start, tile, at + np.cumsum(length_) - length_, length_)
    if not np.array_equal(np.unique(tile), np.arange(header.tiles)):
        raise ValueError(f"it must hold its {header.tiles} tiles, but holds {len(np.unique(tile))}")
    return parts


def _tlm(segment: bytes) -> list[tuple[int, int]]:
    """(tile, bytes) of the parts that a TLM segment lists; the tile is -1 if it does not say."""
    if len(segment) < 2:
        return []
    widths, of_tile, of_length = segment[1], segment[1] >> 4 & 3, 4 if segment[1] & 0x40 else 2
    if widths & 0x8F or of_tile == 3:
        return []
    step, parts = of_tile + of_length, []
    for at in range(2, len(segment) - step + 1, step):
        tile = int.from_bytes(segment[at : at + of_tile]) if of_tile else -1
        parts.append((tile, int.from_bytes(segment[at + of_tile : at + step])))
    return parts


def _walk(read: Read, at: int, size: int, most: int) -> list[tuple[int, int]]:
    """(tile, bytes) of each tile-part from byte `at` on, from the beginning of each."""
    parts = list[tuple[int, int]]()
    while at + _SOT_BYTES <= size:
        head = read(at, _SOT_BYTES)
        if head[:2] == _EOC:
            break
        if len(head) < _SOT_BYTES or head[:4] != struct.pack(">HH", _SOT, 10):
            raise ValueError(f"a tile-part must begin at byte {at}, of {size}")
        tile, length = struct.unpack_from(">HI", head, 4)
        length = length or size - at - len(_EOC)  # 0: up to the end of the code stream
        if length < _SOT_BYTES or at + length > size:
            raise ValueError(f"a tile-part of {length} bytes at byte {at} must end within its {size} bytes")
        parts.append((tile, length))
        at += length
        if len(parts) > most:
            raise ValueError(f"it must have at most {most} tile-parts")
    return parts
