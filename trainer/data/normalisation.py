"""Mean and deviation of every band over the training split, from the exact sums that the extraction left."""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["moments"]


def moments(
    count: npt.NDArray[np.object_], total: npt.NDArray[np.object_], squares: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(mean, standard deviation) of each band in stored counts, float32, shape (band,).

    All three are shape (band,), whole numbers. A band of one value, or of none, gets deviation 1.
    """
    mean, deviation = np.zeros(len(count), np.float32), np.ones(len(count), np.float32)
    for band, (n, s, q) in enumerate(zip(count.tolist(), total.tolist(), squares.tolist(), strict=True)):
        if n:
            mean[band] = s / n
            deviation[band] = math.sqrt((n * q - s * s) / (n * n)) or 1.0
    return mean, deviation
