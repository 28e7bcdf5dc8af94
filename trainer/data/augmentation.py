"""Augmentation in the graph: rotations and flips of each patch, mixup of each patch with another of its batch.

All random numbers are pure functions of (seed, epoch, row number in the store). So there is no generator state to save,
workers draw different numbers, and a resumed run draws the same ones as a run without interruption.

Source: Sedona et al. 2019, section 3 (rotations by 90, 180, 270 degrees, flips, mixup with a shuffled copy of the
batch, weight per patch from a beta distribution); Zhang et al. 2018, arXiv 1710.09412 (mixup); Steele et al. 2014,
"Fast splittable pseudorandom number generators" (splitmix64).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import scipy.stats
import tensorflow as tf

__all__ = ["mixup", "random_flip_rotate", "uniform_numbers"]

_QUANTILES = 4096
_INCREMENT, _FACTOR_1, _FACTOR_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Constants of splitmix64. Source: Steele et al. 2014."""

_FLIP_ROTATE, _MIXUP = 1, 2
"""Purposes of random numbers: the same row gets independent numbers for each."""


def _splitmix64_mix(x: tf.Tensor) -> tf.Tensor:
    """The mixing function of splitmix64, uint64 to uint64: a bijection whose output looks random."""
    for shift, factor in ((30, _FACTOR_1), (27, _FACTOR_2)):
        x = (x ^ tf.bitwise.right_shift(x, tf.constant(shift, tf.uint64))) * tf.constant(factor, tf.uint64)
    return x ^ tf.bitwise.right_shift(x, tf.constant(31, tf.uint64))


def uniform_numbers(seed: int, epoch: tf.Tensor, store_rows: tf.Tensor, purpose: int) -> tf.Tensor:
    """A random number in [0, 1) for each row, dtype float32, shape (patch,); independent for each `purpose`.

    `epoch`: int64, a scalar; `store_rows`: int64, shape (patch,), row number of each patch in the store.
    """
    increment = tf.constant(_INCREMENT, tf.uint64)
    state = _splitmix64_mix(tf.constant(seed, tf.uint64) * increment + tf.constant(purpose, tf.uint64))
    state = _splitmix64_mix(state + tf.cast(epoch, tf.uint64) * increment)
    drawn = _splitmix64_mix(state + (tf.cast(store_rows, tf.uint64) + tf.constant(1, tf.uint64)) * increment)
    top = tf.bitwise.right_shift(drawn, tf.constant(40, tf.uint64))  # 24 bits: what a float32 holds exactly
    return tf.cast(top, tf.float32) * (1.0 / (1 << 24))


def random_flip_rotate(
    pixels: Sequence[tf.Tensor], seed: int, epoch: tf.Tensor, store_rows: tf.Tensor
) -> list[tf.Tensor]:
    """Each patch in one of its eight orientations, all equally probable; the same one in all pixel arrays.

    `pixels`: one tensor per pixel array, shape (patch, row, col, band), square, any dtype; so is the result.
    `store_rows`: int64, shape (patch,), row number of each patch in the store.
    """
    # Bits of 0..7: transpose, mirror rows, mirror columns; together the eight symmetries of a square.
    symmetry = tf.cast(uniform_numbers(seed, epoch, store_rows, _FLIP_ROTATE) * 8.0, tf.int32)[:, None, None, None]
    oriented = []
    for x in pixels:
        x = tf.where(tf.bitwise.bitwise_and(symmetry, 4) > 0, tf.transpose(x, (0, 2, 1, 3)), x)
        x = tf.where(tf.bitwise.bitwise_and(symmetry, 2) > 0, tf.reverse(x, (1,)), x)
        oriented.append(tf.where(tf.bitwise.bitwise_and(symmetry, 1) > 0, tf.reverse(x, (2,)), x))
    return oriented


@cache
def _beta_quantiles(alpha: float) -> npt.NDArray[np.float32]:
    """Quantiles of Beta(alpha, alpha) at the midpoints of 4096 equal intervals of probability, float32, shape (4096,).

    One of them, picked at random, is nearly a draw from the distribution.
    """
    midpoints = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    return np.asarray(scipy.stats.beta.ppf(midpoints, alpha, alpha), np.float32)


def mixup(
    arrays: Sequence[tf.Tensor], alpha: float, seed: int, epoch: tf.Tensor, store_rows: tf.Tensor
) -> list[tf.Tensor]:
    """Each patch mixed with the next one of its batch, which is a random one because rows are shuffled; labels alike.

    `arrays`: pixels and labels, float32, shape (patch, ...), and so is the result. A patch has the weight
    w ~ Beta(alpha, alpha), drawn for its row, and the next one 1 - w. `store_rows`: int64, shape (patch,), row number
    of each patch in the store.
    """
    quantile = tf.cast(uniform_numbers(seed, epoch, store_rows, _MIXUP) * float(_QUANTILES), tf.int32)
    weight = tf.gather(tf.constant(_beta_quantiles(alpha)), quantile)
    mixed = []
    for x in arrays:
        own_weight = tf.cast(tf.reshape(weight, (-1, *(1,) * (len(x.shape) - 1))), x.dtype)
        mixed.append(own_weight * x + (1 - own_weight) * tf.roll(x, -1, axis=0))
    return mixed
