"""Bringing files and names to the disk."""

import contextlib
import os
from collections import deque
from pathlib import Path

__all__ = ["WriteBehind", "give_up", "sync_file", "sync_folder"]

_LATER = 16
"""Writes after which what was written lies on the disk, if that keeps pace: about two rounds."""


class WriteBehind:
    """Has the system write out what was written at once, and then give up its copy in memory.

    Else a store as large as memory pushes out what is to be read, and every write takes memory that was never touched:
    on a virtual machine ten times as many CPU seconds as in memory that has just been given up.

    Source: posix_fadvise(2): POSIX_FADV_DONTNEED begins to write dirty pages out and drops clean ones.
    """

    def __init__(self, file: int) -> None:
        """`file` is the number of an open file."""
        self._file = file
        self._recent: deque[tuple[int, int]] = deque()

    def add(self, start: int, length: int) -> None:
        """`length` bytes have been written from `start` on."""
        self._give_up(start, length)
        self._recent.append((start, length))
        if len(self._recent) > _LATER:
            self._give_up(*self._recent.popleft())

    def _give_up(self, start: int, length: int) -> None:
        if length:  # 0 would mean the rest of the file
            with contextlib.suppress(OSError):  # advice: a file system that takes none has written all the same
                os.posix_fadvise(self._file, start, length, os.POSIX_FADV_DONTNEED)


def sync_file(path: Path) -> None:
    """Bring what was written to a file, by whomever, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def give_up(path: Path) -> None:
    """Bring a file to the disk, and let go of its copy in memory: it is read from the disk from now on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        with contextlib.suppress(OSError):  # advice, as above
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    sync_file(folder)
