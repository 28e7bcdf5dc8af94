"""Rows at known offsets of a file: copied from memory where it holds them, read from the disk where it does not.

Rows that lie in the page cache are taken from a mapping of the file by one call of numpy, without the interpreter's
lock: half the CPU time of reading them one by one. A mapping alone would read from the disk page by page, so that all
rows of a batch that is not in memory are announced to the system first, and then read whole.

Source: preadv(2), RWF_NOWAIT: what is not in the page cache is refused.
"""

import contextlib
import mmap
import os
import threading
import weakref
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["RowFile", "Spot", "announce", "are_in_memory", "fill"]

_PROBES = 8
"""About so many rows of a batch are asked whether they are in memory, twice as many at most."""

_MAPPED_BYTES = 4 << 30
"""After so many bytes the mapping is made anew: what it has touched costs memory for page tables."""


class RowFile:
    """A file of rows, open for reading by any number of threads; closed when nobody holds it any more."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            OSError: it cannot be opened.
        """
        self._path, self._file = path, os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file).atexit = False
        self._bytes: npt.NDArray[np.uint8] | None = None
        self._taken = 0
        self._mapping = threading.Lock()

    def read(self, start: int, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, contiguous, shape (row, ...), with `rows`, whose row 0 begins at byte `start`.

        Raises:
            OSError: the file ends before.
        """
        row_bytes = out.nbytes // max(len(rows), 1)
        size = os.fstat(self._file).st_size
        beyond = rows[start + (rows + 1) * row_bytes > size]
        if len(beyond):
            raise OSError(f"{self._path} is truncated: it ends before row {beyond[0]}")
        places = start + rows * row_bytes
        spots = [(self._file, place, row_bytes) for place in places.tolist()]
        if are_in_memory(spots):
            whole = self._mapped(size, out.nbytes)
            count = (size - start) // row_bytes
            stored = whole[start : start + count * row_bytes].reshape(count, row_bytes)
            np.take(stored, rows, axis=0, out=out.view(np.uint8).reshape(len(rows), row_bytes), mode="clip")
            return
        announce(spots)
        view = memoryview(out).cast("B")
        for number, (file, place, _) in enumerate(spots):
            if not fill(file, view[number * row_bytes : (number + 1) * row_bytes], place):
                raise OSError(f"{self._path} is truncated: it ends before row {rows[number]}")

    def _mapped(self, size: int, wanted: int) -> npt.NDArray[np.uint8]:
        """The whole file, of which so many bytes are about to be touched."""
        with self._mapping:  # two readers that begin together would each make one
            found = self._bytes
            if found is None or len(found) != size or self._taken > _MAPPED_BYTES:
                found = self._bytes = np.frombuffer(mmap.mmap(self._file, size, access=mmap.ACCESS_READ), np.uint8)
                self._taken = 0
            self._taken += wanted
            return found


Spot = tuple[int, int, int]
"""Part of an open file: the file's number, where the part begins, and how long it is, in bytes."""


def are_in_memory(spots: Sequence[Spot]) -> bool:
    """Whether parts of files lie in the page cache, as far as some of them tell; False where the system cannot."""
    if not hasattr(os, "RWF_NOWAIT"):
        return False
    try:
        asked = spots[:: max(1, len(spots) // _PROBES)]
        return all(os.preadv(file, [bytearray(1)], start, os.RWF_NOWAIT) == 1 for file, start, _ in asked)
    except OSError:  # refused, or the file system does not know the question
        return False


def announce(spots: Sequence[Spot]) -> None:
    """Let the disk begin with all parts of files that are about to be read.

    Parts that follow each other are not announced: those the system reads ahead by itself, in larger pieces.
    """
    if any(here != [file, start + length] for (file, start, length), (*here, _) in pairwise(spots)):
        for file, start, length in spots:
            with contextlib.suppress(OSError):  # advice: where it is not taken, rows are read one after the other
                os.posix_fadvise(file, start, length, os.POSIX_FADV_WILLNEED)


def fill(file: int, part: memoryview, start: int) -> bool:
    """Fill `part` with the bytes of an open file from `start` on; False where the file ends before, or begins after."""
    if start < 0:
        return False
    done = 0
    while done < len(part):
        got = os.preadv(file, [part[done:]], start + done)
        if got == 0:
            return False
        done += got
    return True
