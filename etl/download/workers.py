"""Threads that fetch, and the count of what they have fetched."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Arrived", "fetch_threads"]


@contextlib.contextmanager
def fetch_threads(count: int, name: str, stopping: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Threads that are told to stop, and not waited for, if the `with` block raises: Ctrl-C ends the run at once."""
    pool = ThreadPoolExecutor(count, name)
    try:
        yield pool
    except BaseException:
        stopping.set()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


class Arrived:
    """Bytes that have arrived in this run, from all threads."""

    def __init__(self, show: Callable[[int], None]) -> None:
        """`show`: called with the MiB that have arrived."""
        self.bytes = 0
        self._show, self._lock = show, threading.Lock()

    def add(self, count: int) -> None:
        """Count further bytes."""
        with self._lock:
            self.bytes += count
            self._show(self.bytes >> 20)
