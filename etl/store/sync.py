"""Bringing files and names to the disk."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["WriteBehind", "give_up", "sync_file", "sync_folder"]

_LATER = 16
"""Writes after which what was written lies on the disk, if that keeps pace: about two rounds."""


class WriteBehind:
    """Has the system write out what was written at once, and then give up its copy in memory.

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
        _let_go(self._file, start, length)
        self._unsynced.append((start, length))
        if len(self._unsynced) > _LATER:
            _let_go(self._file, *self._unsynced[-_LATER - 1])

    def sync(self) -> None:
        """Bring the file to the disk, and give up what is left in memory of what was written since the last time."""
        os.fsync(self._file)
        for start, length in self._unsynced:
            _let_go(self._file, start, length)
        self._unsynced.clear()


def _let_go(file: int, start: int = 0, length: int = 0) -> None:
    """Advise the system to drop part of an open file from memory, to its end where `length` is 0."""
    with contextlib.suppress(OSError):  # advice: a file system that takes none has written all the same
        os.posix_fadvise(file, start, length, os.POSIX_FADV_DONTNEED)


@contextlib.contextmanager
def _synced(path: Path) -> Iterator[int]:
    """The number of a file, or a folder, open for reading, once it is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        yield handle
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Bring what was written to a file, by whomever, to the disk."""
    with _synced(path):
        pass


def give_up(path: Path) -> None:
    """Bring a file to the disk, and let go of its copy in memory: it is read from the disk from now on."""
    with _synced(path) as handle:
        _let_go(handle)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    sync_file(folder)
