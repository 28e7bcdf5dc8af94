"""A bound on what a process may hold, and the page cache emptied of what it is to read.

By RLIMIT_DATA: everything that a process asks for itself, resident or not, counts; the page cache does not. No control
group: moving a process would take it out of the one in which a batch system, or whatever runs it, has put it.
"""

import os
import resource
from pathlib import Path

__all__ = ["forget", "limit_memory"]


def limit_memory(size_bytes: int) -> None:
    """Bound this process from now on; what goes beyond becomes a MemoryError."""
    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def forget(path: Path) -> None:
    """Let go of a file's pages in the page cache, so that it is read from the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)
