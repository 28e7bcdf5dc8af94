"""Prefetch batches on threads, for readers that do not prefetch by themselves."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AHEAD", "ahead"]

AHEAD = 2
"""Number of batches read at the same time, as by the trainer's stream."""


def ahead(
    read: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint16]], order: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.uint16]]:
    """Results of `read` for each line of `order`, with two batches prefetched."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting: deque[Any] = deque(pool.submit(read, rows) for rows in order[:AHEAD])
        for step in range(len(order)):
            if step + AHEAD < len(order):
                waiting.append(pool.submit(read, order[step + AHEAD]))
            yield waiting.popleft().result()
