"""Upper limit for all readers: one thread that copies the rows of each batch from memory into a reused buffer."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["CONSUMED", "batches", "write"]

CONSUMED = False
"""Only the copy is timed; its result is not read."""


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write the rows as a npy file."""
    np.save(path, rows)


@cache
def _memory(path: Path, batch: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """The rows, and a buffer for a batch, all in allocated memory."""
    rows = np.load(path)
    return rows, np.ones((batch, *rows.shape[1:]), np.uint16)


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, all in the same buffer."""
    rows, out = _memory(path, order.shape[1])
    for line in order:
        for k, row in enumerate(line.tolist()):
            out[k] = rows[row]
        yield out
