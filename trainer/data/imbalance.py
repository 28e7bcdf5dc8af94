"""Make rare labels count for more: by weights in the loss, or by drawing their rows more than once per epoch."""

import numpy as np
import numpy.typing as npt

__all__ = ["oversampled_rows", "positive_weights"]


def positive_weights(labels: npt.NDArray[np.uint8], power: float) -> npt.NDArray[np.float32]:
    """Weight in the loss of a label that is present, against 1 for an absent one: (rows without / rows with) ^ power.

    `labels`: uint8, shape (row, class), 0 or 1. Returns float32, shape (class,); 1 for a class that never occurs, and
    for all if `power` is 0. At power 1 the present and the absent labels of every class have the same total weight.
    """
    present = labels.sum(axis=0, dtype=np.int64)
    odds = (len(labels) - present) / np.maximum(present, 1)
    return np.where((present > 0) & (odds > 0), odds, 1.0).astype(np.float32) ** np.float32(power)


def oversampled_rows(labels: npt.NDArray[np.uint8], frequency_threshold: float, seed: int) -> npt.NDArray[np.int64]:
    """Index into `labels` of each row of an epoch in which rows of rare classes are repeated.

    Dtype int64, shape (row,), ascending; each row occurs at least once. `labels`: uint8, shape (row, class), 0 or 1.

    The repeat factor of a class that is on a fraction f of the rows, less than `frequency_threshold`, is
    sqrt(frequency_threshold / f); that of a row is the largest one of its classes. Fractional factors are rounded up or
    down at random, decided by `seed`.

    Source: Gupta et al. 2019, arXiv 1908.03195, section 5 (repeat factor sampling; `frequency_threshold` is its t).
    """
    frequency = labels.mean(axis=0)
    factor = np.ones(labels.shape[1])
    factor[frequency > 0] = np.maximum(1.0, np.sqrt(frequency_threshold / frequency[frequency > 0]))
    repeats = np.maximum(1.0, (labels * factor).max(axis=1, initial=1.0))
    # 0x5EED makes these random numbers independent of those of `epoch_order`, which come from the same seed
    chance = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 0x5EED)))).random(len(labels))
    times = np.floor(repeats).astype(np.int64) + (chance < repeats % 1.0)
    return np.repeat(np.arange(len(labels)), times)
