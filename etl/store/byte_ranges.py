"""Byte ranges of files, read without HDF5 or Zarr: from the page cache where it holds them, else from the disk.

Source: preadv(2): RWF_NOWAIT refuses what is not in the page cache; posix_fadvise(2).
"""

import contextlib
import mmap
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["ByteRange", "OffsetReader", "in_page_cache", "pread_exact", "prefetch_ranges"]

_PROBES = 8
"""Ranges that are tested for being in the page cache; up to twice as many, as the step is rounded down."""

_REMAP_BYTES = 4 << 30
"""After so many bytes the file is mapped anew: every page that was touched costs memory for page tables."""

ByteRange = tuple[int, int, int]
"""(file descriptor, first byte, length in bytes)."""


def in_page_cache(ranges: Sequence[ByteRange]) -> bool:
    """Whether the ranges of bytes are in the page cache, judged by a few; False where the system cannot tell."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        probes = ranges[:: max(1, len(ranges) // _PROBES)]
        return all(os.preadv(file, [bytearray(1)], start, os.RWF_NOWAIT) == 1 for file, start, _ in probes)
    except OSError:  # refused, or the file system does not support the flag
        return False


def prefetch_ranges(ranges: Sequence[ByteRange]) -> None:
    """Start reading all ranges of bytes into the page cache.

    Nothing is done where each range follows the one before: the system's own readahead takes larger pieces.
    """
    if any(here != [file, start + length] for (file, start, length), (*here, _) in pairwise(ranges)):
        for file, start, length in ranges:
            with contextlib.suppress(OSError):  # only advice: without it the ranges are read one after the other
                os.posix_fadvise(file, start, length, os.POSIX_FADV_WILLNEED)


def pread_exact(file: int, part: memoryview, start: int) -> bool:
    """Fill `part` with bytes of an open file from byte `start`; False where the file does not hold all of them."""
    if start < 0:
        return False
    done = 0
    while done < len(part):
        got = os.preadv(file, [part[done:]], start + done)
        if got == 0:
            return False
        done += got
    return True


class OffsetReader:
    """Rows at known offsets of one file, for any number of threads; the file is closed when the reader is gone.

    Rows in the page cache are copied from a mapping of the file by one numpy call that releases the GIL: half the CPU
    time of one `preadv` a row. Others are read whole, since a mapping would fetch them page by page.
    """

    def __init__(self, path: Path, offsets: Mapping[str, int]) -> None:
        """`offsets`: first byte of row 0 of each array, by name.

        Raises:
            OSError: the file cannot be opened.
        """
        self._path, self._offsets, self._file = path, offsets, os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file).atexit = False
        self._bytes: npt.NDArray[np.uint8] | None = None
        self._touched_bytes = 0
        self._mapping = threading.Lock()

    def read_rows(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, contiguous, shape (row, ...), uint16, with `rows` of the array `name`.

        Raises:
            OSError: the file ends before the last byte of a row.
        """
        if not len(rows):
            return
        start, row_bytes = self._offsets[name], out.nbytes // len(rows)
        size = os.fstat(self._file).st_size
        beyond = rows[start + (rows + 1) * row_bytes > size]
        if len(beyond):
            raise OSError(f"{self._path} is truncated: it ends before row {beyond[0]} of {name}")
        if (np.diff(rows) == 1).all():  # one run: a single read, and no mapping, whose pages would count as resident
            if not pread_exact(self._file, memoryview(out).cast("B"), start + int(rows[0]) * row_bytes):
                raise OSError(f"{self._path} is truncated: it ends before row {rows[-1]} of {name}")
            return
        ranges = [(self._file, first, row_bytes) for first in (start + rows * row_bytes).tolist()]
        if in_page_cache(ranges):
            whole = self._mapped(size, out.nbytes)
            count = (size - start) // row_bytes
            stored = whole[start : start + count * row_bytes].reshape(count, row_bytes)
            # mode="clip" makes numpy write into `out` without a buffer of its own; all indices are in range
            np.take(stored, rows, axis=0, out=out.view(np.uint8).reshape(len(rows), row_bytes), mode="clip")
            return
        prefetch_ranges(ranges)
        view = memoryview(out).cast("B")
        for number, (file, first, _) in enumerate(ranges):
            if not pread_exact(file, view[number * row_bytes : (number + 1) * row_bytes], first):
                raise OSError(f"{self._path} is truncated: it ends before row {rows[number]} of {name}")

    def close(self) -> None:
        """Drop the mapping; the file itself is closed with the last reference to the reader."""
        self._bytes = None

    def _mapped(self, size: int, wanted_bytes: int) -> npt.NDArray[np.uint8]:
        """The whole file as bytes; `wanted_bytes` of it are about to be touched."""
        with self._mapping:  # two threads that begin together would each map the file
            found = self._bytes
            if found is None or len(found) != size or self._touched_bytes > _REMAP_BYTES:
                found = self._bytes = np.frombuffer(mmap.mmap(self._file, size, access=mmap.ACCESS_READ), np.uint8)
                self._touched_bytes = 0
            self._touched_bytes += wanted_bytes
            return found
