"""Mean and standard deviation of every band over the training split, from the exact sums that extraction wrote."""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["moments"]


def moments(
    count: npt.NDArray[np.object_], total: npt.NDArray[np.object_], squares: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(mean, standard deviation) of each band in stored counts, dtype float32, shape (band,).

    `count`, `total` and `squares` are Python integers, shape (band,): number, sum and sum of squares of the pixels.
    A band of one value, or of none, gets standard deviation 1.
    """
    mean, std = np.zeros(len(count), np.float32), np.ones(len(count), np.float32)
    for band, (n, s, q) in enumerate(zip(count.tolist(), total.tolist(), squares.tolist(), strict=True)):
        if n:
            mean[band] = s / n
            # Integers up to the division: the difference of two large products would lose all digits in floats.
            std[band] = math.sqrt((n * q - s * s) / (n * n)) or 1.0
    return mean, std
