"""Limit the memory of a process.

RLIMIT_DATA counts all memory that a process allocates, resident or not, but not the page cache. A control group is not
used, because it would take the process out of the group of a batch system.
"""

import resource

__all__ = ["limit_memory"]


def limit_memory(size_bytes: int) -> None:
    """Limit the memory of this process, in bytes; allocating more raises MemoryError."""
    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
