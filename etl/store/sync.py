"""Flush written bytes to the disk, and drop them from the page cache."""

import contextlib
import os
from pathlib import Path

from etl.files import sync_path

__all__ = ["WriteBehind", "sync_and_drop_cache"]

_WRITES_UNTIL_CLEAN = 16
"""Number of later writes after which a range is probably on the disk and can be dropped: about two rounds."""


class WriteBehind:
    """Start write-back of written ranges at once, and drop them from the page cache once they are on the disk.

    Otherwise a store as large as memory evicts the input from the page cache, and every write takes memory that was not
    used before, which the host of a virtual machine has to provide first (ADR 16).

    Source: Linux, mm/fadvise.c: POSIX_FADV_DONTNEED begins to write dirty pages out and drops clean ones.
    """

    def __init__(self, fd: int) -> None:
        """`fd`: file descriptor of the open file."""
        self._fd = fd
        self._unsynced: list[tuple[int, int]] = []

    def add(self, start: int, length: int) -> None:
        """Note that `length` bytes, at least 1, have been written from byte `start` on."""
        _fadvise_dontneed(self._fd, start, length)
        self._unsynced.append((start, length))
        if len(self._unsynced) > _WRITES_UNTIL_CLEAN:
            _fadvise_dontneed(self._fd, *self._unsynced[-_WRITES_UNTIL_CLEAN - 1])

    def sync(self) -> None:
        """Flush the file to the disk, and drop the bytes written since the last call from the page cache."""
        os.fsync(self._fd)
        for start, length in self._unsynced:
            _fadvise_dontneed(self._fd, start, length)
        self._unsynced.clear()


def _fadvise_dontneed(fd: int, start: int = 0, length: int = 0) -> None:
    """Advise the system to drop bytes of an open file from the page cache, all from `start` on if `length` is 0."""
    with contextlib.suppress(OSError):  # only advice: the bytes are written also if the file system does not take it
        os.posix_fadvise(fd, start, length, os.POSIX_FADV_DONTNEED)


def sync_and_drop_cache(path: Path) -> None:
    """Flush the bytes of a file, or the names in a folder, to the disk and drop them from the page cache."""
    sync_path(path)
    fd = os.open(path, os.O_RDONLY)
    _fadvise_dontneed(fd)
    os.close(fd)
