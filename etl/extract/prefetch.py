"""Patches prepared ahead of their writing: one thread decodes, others run the networks, results stay in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from etl.source.patch import Patch, PatchError

__all__ = ["prefetch"]

Prepared = TypeVar("Prepared")


def prefetch(
    patches: Iterator[tuple[int, Patch | PatchError]],
    prepare: Callable[[Patch | PatchError], Prepared],
    workers: int,
    depth: int,
) -> Generator[tuple[int, Prepared], None, None]:
    """(store row, prepared patch) in the order of `patches`, a generator; closing it ends its threads.

    `prepare` runs on `workers` threads; at most `depth` patches wait beside those that are being prepared, each with a
    copy of its pixels. What `patches` or `prepare` raises is raised where its patch is asked for.
    """
    decoder = ThreadPoolExecutor(1, thread_name_prefix="decoder")
    networks = ThreadPoolExecutor(workers, thread_name_prefix="network")

    def decode() -> tuple[int, Future[Prepared]] | None:
        row, patch = next(patches, (-1, None))
        return None if patch is None else (row, networks.submit(prepare, _copied(patch)))

    try:
        waiting = deque(decoder.submit(decode) for _ in range(workers + depth))
        while (decoded := waiting.popleft().result()) is not None:
            waiting.append(decoder.submit(decode))
            row, prepared = decoded
            yield row, prepared.result()  # the oldest first: results stay in order
    finally:
        decoder.shutdown(cancel_futures=True)  # first, as it submits to the other
        networks.shutdown(cancel_futures=True)


def _copied(patch: Patch | PatchError) -> Patch | PatchError:
    """The patch in buffers of its own: a source gives every patch in the same ones."""
    if isinstance(patch, PatchError):
        return patch
    return replace(patch, native=tuple(window.copy() for window in patch.native))
