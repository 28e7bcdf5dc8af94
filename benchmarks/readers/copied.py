"""The ceiling: one thread that copies the rows of each batch from memory into a buffer that it has already."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["CONSUMED", "batches", "write"]

CONSUMED = False
"""The copy alone is timed: what comes of it is read by nobody."""


def write(place: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """The rows as they are."""
    np.save(place, rows)


@cache
def _memory(place: Path, batch: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """The rows, and room for a batch, all of it there already."""
    rows = np.load(place)
    return rows, np.ones((batch, *rows.shape[1:]), np.uint16)


def batches(place: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """The same buffer again and again."""
    rows, out = _memory(place, order.shape[1])
    for line in order:
        for k, row in enumerate(line.tolist()):
            out[k] = rows[row]
        yield out
