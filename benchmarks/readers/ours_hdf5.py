"""The trainer's stream on a contiguous HDF5 store."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.readers.stores import NAME, make_store
from benchmarks.readers.tensors import looked_at
from trainer.deal import Share
from trainer.rows import Wanted, open_rows
from trainer.stream import Stream

__all__ = ["batches", "write"]


def write(place: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """A store."""
    make_store(place, rows)


def batches(place: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """As the trainer's loop gets them, tf.data included."""
    weights = np.ones(order.shape[1], np.float32)
    stream = Stream(open_rows(place, Wanted(((NAME, ()),))), order.shape[1], lambda step: Share(order[step], weights))
    for pixels, *_ in stream(range(len(order))):
        yield looked_at(pixels[0])
