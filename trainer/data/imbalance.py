"""Rare labels made to count for more: by weights in the loss, or by drawing their rows more than once an epoch."""

import numpy as np
import numpy.typing as npt

__all__ = ["positive_weights", "repeated"]


def positive_weights(labels: npt.NDArray[np.uint8], power: float) -> npt.NDArray[np.float32]:
    """What a label that is there counts for in the loss, against 1 for one that is not: (without / with) ^ power.

    `labels`: shape (row, class), 0 or 1. Returns float32, shape (class,); 1 for a class that never occurs, and for all
    where `power` is 0. At power 1 both sides of every class have the same weight in sum.
    """
    there = labels.sum(axis=0, dtype=np.int64)
    odds = (len(labels) - there) / np.maximum(there, 1)
    return np.where((there > 0) & (odds > 0), odds, 1.0).astype(np.float32) ** np.float32(power)


def repeated(labels: npt.NDArray[np.uint8], frequent: float, seed: int) -> npt.NDArray[np.int64]:
    """Rows of an epoch in which rare labels come more often, int64, ascending: each at least once.

    A class on less than a share `frequent` of the rows is repeated by sqrt(frequent / share), a row by its rarest
    class; fractions are rounded up or down at random, decided by `seed`.

    Source: Gupta et al. 2019, arXiv 1908.03195, section 5 (repeat factor sampling).
    """
    share = labels.mean(axis=0)
    factor = np.ones(labels.shape[1])
    factor[share > 0] = np.maximum(1.0, np.sqrt(frequent / share[share > 0]))
    wanted = np.maximum(1.0, (labels * factor).max(axis=1, initial=1.0))
    chance = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 0x5EED)))).random(len(labels))
    times = np.floor(wanted).astype(np.int64) + (chance < wanted % 1.0)
    return np.repeat(np.arange(len(labels)), times)
