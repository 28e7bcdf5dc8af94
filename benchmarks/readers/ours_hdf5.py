"""The trainer's stream on a contiguous HDF5 store."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.readers.stores import NAME, make_store
from benchmarks.readers.tensors import tensor_memory
from trainer.config import BandSelection
from trainer.data.sampler import RankBatch
from trainer.data.selection import RowSelection, select_rows
from trainer.data.stream import BatchStream, BufferPool

__all__ = ["batches", "write"]

_KEPT: dict[tuple[int, ...], BufferPool] = {}


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write a store."""
    make_store(path, rows)


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches as the trainer's loop gets them, tf.data included, with buffers that are reused as in a training."""
    rows, weights, batch = (
        select_rows(path, RowSelection((BandSelection(NAME),))),
        np.ones(order.shape[1], np.float32),
        order.shape[1],
    )
    shape = (batch, *rows.pixels[0].row_shape)
    pools = [_KEPT.setdefault(shape, BufferPool(shape))]
    stream = BatchStream(rows, batch, lambda step: RankBatch(order[step], weights), pools)
    for pixels, *_ in stream(range(len(order))):
        yield tensor_memory(pixels[0])
