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
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from etl.files import close_synced

__all__ = ["ByteRange", "OffsetReader", "in_page_cache", "pread_exact", "prefetch_ranges"]

_PROBES = 8
"""Ranges that are tested for being in the page cache; at most twice this number: the sampling step is rounded down."""

_REMAP_BYTES = 4 << 30
"""Bytes after which the file is mapped anew: every page that was touched costs memory for page tables."""


class ByteRange(NamedTuple):
    """Part of an open file."""

    fd: int
    """File descriptor."""

    start: int
    """Offset of the first byte."""

    length: int
    """Number of bytes."""


def in_page_cache(ranges: Sequence[ByteRange]) -> bool:
    """Whether the ranges of bytes are in the page cache, judged by a few; False if the system cannot tell."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        probes = ranges[:: max(1, len(ranges) // _PROBES)]
        return all(os.preadv(probe.fd, [bytearray(1)], probe.start, os.RWF_NOWAIT) == 1 for probe in probes)
    except OSError:  # refused, or the file system does not support the flag
        return False


def prefetch_ranges(ranges: Sequence[ByteRange]) -> None:
    """Start reading all ranges of bytes into the page cache.

    Nothing is done if each range follows the one before: the system's own readahead takes larger pieces.
    """
    if any((b.fd, b.start) != (a.fd, a.start + a.length) for a, b in pairwise(ranges)):
        for fd, start, length in ranges:
            with contextlib.suppress(OSError):  # only advice: without it the ranges are read one after the other
                os.posix_fadvise(fd, start, length, os.POSIX_FADV_WILLNEED)


def pread_exact(fd: int, out: memoryview, start: int) -> bool:
    """Fill `out` with the bytes of an open file from byte `start` on; False if the file ends before."""
    if start < 0:
        return False
    done = 0
    while done < len(out):
        got = os.preadv(fd, [out[done:]], start + done)
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
        self._path, self._offsets, self._fd = path, offsets, os.open(path, os.O_RDONLY)
        weakref.finalize(self, close_synced, self._fd).atexit = False
        self._memory_map: npt.NDArray[np.uint8] | None = None
        self._touched_bytes = 0
        self._map_lock = threading.Lock()

    def read_rows(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out`, contiguous, shape (patch, ...), in the stored dtype, with `rows` of the array `name`.

        Raises:
            OSError: the file ends before the last byte of a row.
        """
        if not len(rows):
            return
        start, row_bytes = self._offsets[name], out.nbytes // len(rows)
        size = os.fstat(self._fd).st_size
        beyond = rows[start + (rows + 1) * row_bytes > size]
        if len(beyond):
            raise OSError(f"{self._path} is truncated: it ends before row {beyond[0]} of {name}")
        if (np.diff(rows) == 1).all():  # one run: a single read, and no mapping, whose pages would count as resident
            if not pread_exact(self._fd, memoryview(out).cast("B"), start + int(rows[0]) * row_bytes):
                raise OSError(f"{self._path} is truncated: it ends before row {rows[-1]} of {name}")
            return
        ranges = [ByteRange(self._fd, first, row_bytes) for first in (start + rows * row_bytes).tolist()]
        if in_page_cache(ranges):
            mapped_file = self._map_file(size, out.nbytes)
            count = (size - start) // row_bytes
            stored = mapped_file[start : start + count * row_bytes].reshape(count, row_bytes)
            # mode="clip" makes numpy write into `out` without a buffer of its own; all indices are in range
            np.take(stored, rows, axis=0, out=out.view(np.uint8).reshape(len(rows), row_bytes), mode="clip")
            return
        prefetch_ranges(ranges)
        view = memoryview(out).cast("B")
        for k, (fd, first, _) in enumerate(ranges):
            if not pread_exact(fd, view[k * row_bytes : (k + 1) * row_bytes], first):
                raise OSError(f"{self._path} is truncated: it ends before row {rows[k]} of {name}")

    def close(self) -> None:
        """Release the memory map; the file itself is closed with the last reference to the reader."""
        self._memory_map = None

    def _map_file(self, size: int, wanted_bytes: int) -> npt.NDArray[np.uint8]:
        """The whole file of `size` bytes, mapped into memory; `wanted_bytes` of it are about to be touched."""
        with self._map_lock:  # two threads that begin together would each map the file
            mapped_file = self._memory_map
            if mapped_file is None or len(mapped_file) != size or self._touched_bytes > _REMAP_BYTES:
                memory = mmap.mmap(self._fd, size, access=mmap.ACCESS_READ)
                mapped_file = self._memory_map = np.frombuffer(memory, np.uint8)
                self._touched_bytes = 0
            self._touched_bytes += wanted_bytes
            return mapped_file
