"""A tf.data generator that reads patch by patch with h5py, as in most tutorials."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.readers.tensors import tensor_memory

__all__ = ["batches"]

_AHEAD = 2


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, two of them prefetched by tf.data."""
    with h5py.File(path, "r") as file:
        array = file["data_super"]

        def patches() -> Iterator[Any]:
            for row in order.ravel().tolist():
                yield array[row]

        of = tf.data.Dataset.from_generator(patches, output_signature=tf.TensorSpec(array.shape[1:], tf.uint16))
        for batch in of.batch(order.shape[1], drop_remainder=True).prefetch(_AHEAD):
            yield tensor_memory(batch)
