"""Patches prepared ahead of their writing: one thread decodes, some more run the networks, results stay in order."""

import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Generic, TypeVar

from etl.source.patch import Patch, PatchError

__all__ = ["Prefetcher"]

Prepared = TypeVar("Prepared")
_Entry = tuple[int, Future[Prepared]]


class Prefetcher(Generic[Prepared]):
    """Iterates over (store row, prepared patch) in the order of the source.

    A source gives every patch in the same buffers; what waits here are copies. What the source or `prepare` raises is
    raised where its patch is asked for.
    """

    def __init__(
        self,
        patches: Iterator[tuple[int, Patch | PatchError]],
        prepare: Callable[[Patch | PatchError], Prepared],
        workers: int,
        depth: int,
    ) -> None:
        """`prepare` runs on `workers` threads; at most `depth` patches wait beside those that are being prepared."""
        self._patches = patches
        self._prepare = prepare
        self._ready: queue.Queue[_Entry[Prepared] | BaseException | None] = queue.Queue(workers + depth)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="network")
        self._stopped = False
        self._decoder = threading.Thread(target=self._decode, name="decoder", daemon=True)
        self._decoder.start()

    def __iter__(self) -> "Prefetcher[Prepared]":
        return self

    def __next__(self) -> tuple[int, Prepared]:
        got = self._ready.get()
        if got is None:
            self._ready.put(None)
            raise StopIteration
        if isinstance(got, BaseException):
            self._ready.put(None)
            raise got
        row, future = got
        return row, future.result()

    def close(self) -> None:
        """End the threads after the patches that they are at."""
        self._stopped = True
        while self._decoder.is_alive():
            try:
                self._ready.get_nowait()
            except queue.Empty:
                self._decoder.join(0.01)
        self._pool.shutdown(cancel_futures=True)

    def _decode(self) -> None:
        try:
            for row, patch in self._patches:
                self._put((row, self._pool.submit(self._prepare, _copied(patch))))
                if self._stopped:
                    return
            self._put(None)
        except BaseException as error:
            self._put(error)

    def _put(self, item: _Entry[Prepared] | BaseException | None) -> None:
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
