"""Bring written bytes to the disk, and drop them from the page cache."""

import contextlib
import os
from pathlib import Path

from etl.files import sync_path

__all__ = ["WriteBehind", "sync_and_drop_cache"]

_LATER = 16
"""Writes after which what was written lies on the disk, if that keeps pace: about two rounds."""


class WriteBehind:
    """Has the system write out what was written at once, and then drop it from the page cache.

    Else a store as large as memory pushes out what is to be read, and every write takes memory that was not used
    before, which on a virtual machine the host has to find first (ADR 16).

    Source: Linux, mm/fadvise.c: POSIX_FADV_DONTNEED begins to write dirty pages out and drops clean ones.
    """

    def __init__(self, file: int) -> None:
        """`file` is the number of an open file."""
        self._file = file
        self._unsynced: list[tuple[int, int]] = []

    def add(self, start: int, length: int) -> None:
        """`length` bytes, at least 1, have been written from `start` on."""
        _fadvise_dontneed(self._file, start, length)
        self._unsynced.append((start, length))
        if len(self._unsynced) > _LATER:
            _fadvise_dontneed(self._file, *self._unsynced[-_LATER - 1])

    def sync(self) -> None:
        """Bring the file to the disk, and drop from the page cache the bytes written since the last time."""
        os.fsync(self._file)
        for start, length in self._unsynced:
            _fadvise_dontneed(self._file, start, length)
        self._unsynced.clear()


def _fadvise_dontneed(file: int, start: int = 0, length: int = 0) -> None:
    """Advise the system to drop part of an open file from memory, to its end where `length` is 0."""
    with contextlib.suppress(OSError):  # advice: a file system that takes none has written all the same
        os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)


def sync_and_drop_cache(path: Path) -> None:
    """Bring the bytes of a file, or of a folder's list, to the disk and drop them from the page cache."""
    sync_path(path)
    handle = os.open(path, os.O_RDONLY)
    _fadvise_dontneed(handle)
    os.close(handle)
