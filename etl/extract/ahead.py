"""Decoding ahead: a thread that fetches patches while the networks run on the last ones."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace

from etl.source.patch import Patch, PatchError

__all__ = ["Ahead"]

Item = tuple[int, Patch | PatchError]


class Ahead:
    """Iterates over patches that another thread has already decoded, at most `depth` of them.

    A source gives every patch in the same buffers; what waits here are copies. What the source raises is raised where
    the patch is asked for.
    """

    def __init__(self, patches: Iterator[Item], depth: int) -> None:
        self._patches = patches
        self._ready: queue.Queue[Item | BaseException | None] = queue.Queue(depth)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
        self._thread.start()

    def __iter__(self) -> "Ahead":
        return self

    def __next__(self) -> Item:
        got = self._ready.get()
        if got is None:
            self._ready.put(None)
            raise StopIteration
        if isinstance(got, BaseException):
            self._ready.put(None)
            raise got
        return got

    def close(self) -> None:
        """End the thread after the patch that it is at."""
        self._stopped = True
        while self._thread.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._thread.join(0.01)

    def _run(self) -> None:
        try:
            for row, patch in self._patches:
                self._put((row, _copied(patch)))
                if self._stopped:
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: Item | BaseException | None) -> None:
        while not self._stopped:
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return


def _copied(patch: Patch | PatchError) -> Patch | PatchError:
    """The patch in buffers of its own."""
    if isinstance(patch, PatchError):
        return patch
    return replace(patch, native=tuple(window.copy() for window in patch.native))
