"""Prepare patches ahead of use: one thread decodes, others run the networks, results stay in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from etl.source.interface import SourcePatch
from etl.source.patch import PatchError

__all__ = ["prefetch"]

Prepared = TypeVar("Prepared")


def prefetch(
    patches: Iterator[SourcePatch],
    prepare: Callable[[SourcePatch], Prepared],
    workers: int,
    depth: int,
) -> Generator[Prepared, None, None]:
    """Yield what `prepare` returns for each patch, in the order of `patches`; closing the generator ends its threads.

    `prepare` runs on `workers` threads; at most `depth` patches wait beside those that are being prepared, each with a
    copy of its pixels. What `patches` or `prepare` raises is raised when its patch is asked for.
    """
    decoder = ThreadPoolExecutor(1, thread_name_prefix="decoder")
    networks = ThreadPoolExecutor(workers, thread_name_prefix="network")

    def decode() -> Future[Prepared] | None:
        patch = next(patches, None)
        return None if patch is None else networks.submit(prepare, _copied(patch))

    try:
        waiting = deque(decoder.submit(decode) for _ in range(workers + depth))
        while (prepared := waiting.popleft().result()) is not None:
            waiting.append(decoder.submit(decode))
            yield prepared.result()  # the oldest first: results stay in order
    finally:
        decoder.shutdown(cancel_futures=True)  # first, as it submits to the other
        networks.shutdown(cancel_futures=True)


def _copied(source_patch: SourcePatch) -> SourcePatch:
    """The patch with a copy of its pixels: the source reuses its buffers for the next patch."""
    row, patch = source_patch
    if isinstance(patch, PatchError):
        return source_patch
    return SourcePatch(row, replace(patch, native=tuple(window.copy() for window in patch.native)))
