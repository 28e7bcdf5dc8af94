"""Training rows to a tf.data stream of whole batches."""

import os
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.deal import Deal
from trainer.rows import TrainingRows

__all__ = ["READERS", "batches"]

READERS = 2
"""Batches that are read at the same time, and that wait ready."""


def batches(rows: TrainingRows, deal: Deal, rank: int, first: int, last: int) -> tf.data.Dataset:
    """Batches of worker `rank` in steps [first, last) of the run, in order.

    Each is (pixels as stored, uint16, (batch, row, col, band); labels, uint8, (batch, class); weights, float32,
    (batch,), see `Share`). The store is read here, batch by batch in one call each, without HDF5 and without the
    interpreter's lock.
    """
    file = os.open(rows.pixels.path, os.O_RDONLY)

    def fetch(step: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
        share = deal.share(int(step), rank)
        return rows.pixels.read(file, rows.numbers[share.rows]), rows.labels[share.rows], share.weights

    weakref.finalize(fetch, os.close, file)  # TensorFlow lets go of it when the last graph that calls it is gone

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        pixels, labels, weights = tf.numpy_function(fetch, [step], [tf.uint16, tf.uint8, tf.float32])
        pixels = tf.ensure_shape(pixels, (deal.batch, *rows.pixels.row_shape))
        labels = tf.ensure_shape(labels, (deal.batch, rows.labels.shape[1]))
        return pixels, labels, tf.ensure_shape(weights, (deal.batch,))

    options = tf.data.Options()
    options.threading.private_threadpool_size = READERS  # reading goes on where a step holds every other thread
    steps = tf.data.Dataset.range(first, last).with_options(options)
    return steps.map(batch, num_parallel_calls=READERS, deterministic=True).prefetch(READERS)
