"""Batches read by threads while earlier ones are used, for readers that do not do that themselves."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AHEAD", "ahead"]

AHEAD = 2
"""As many as the trainer's stream reads at the same time."""


def ahead(
    read: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint16]], order: npt.NDArray[np.int64]
) -> Iterator[npt.NDArray[np.uint16]]:
    """What `read` gives for each line of `order`, two of them in advance."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting: deque[Any] = deque(pool.submit(read, rows) for rows in order[:AHEAD])
        for step in range(len(order)):
            if step + AHEAD < len(order):
                waiting.append(pool.submit(read, order[step + AHEAD]))
            yield waiting.popleft().result()
