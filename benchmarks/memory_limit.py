"""A bound on what a process may hold.

By RLIMIT_DATA: everything that a process asks for itself, resident or not, counts; the page cache does not. No control
group: moving a process would take it out of the one in which a batch system, or whatever runs it, has put it.
"""

import resource

__all__ = ["limit_memory"]


def limit_memory(size_bytes: int) -> None:
    """Bound this process from now on; what goes beyond becomes a MemoryError."""
    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))
