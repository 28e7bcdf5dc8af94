"""TFRecord by tf.data: one record of raw bytes per patch, written in the order in which they are read."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.readers.tensors import tensor_memory

__all__ = ["batches", "write"]

_BUFFER_BYTES = 64 << 20
_AHEAD = 2


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write one file with the patches of one pass, in order."""
    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in order[: len(rows) // order.shape[1]].ravel().tolist():
            writer.write(rows[row].tobytes())
    np.save(path.with_suffix(".shape.npy"), rows.shape[1:])


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the order of the file, decoded batch by batch, two of them prefetched."""
    shape = np.load(path.with_suffix(".shape.npy")).tolist()
    of = tf.data.TFRecordDataset(str(path), buffer_size=_BUFFER_BYTES).repeat().batch(order.shape[1])
    decoded = of.map(lambda raw: tf.reshape(tf.io.decode_raw(raw, tf.uint16), (-1, *shape)), 2, deterministic=True)
    for batch in decoded.take(len(order)).prefetch(_AHEAD):
        yield tensor_memory(batch)
