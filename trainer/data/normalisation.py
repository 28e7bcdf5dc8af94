"""Mean and standard deviation of each band over the training split, from the exact sums that extraction wrote."""

import math

import numpy as np
import numpy.typing as npt

__all__ = ["moments"]


def moments(
    count: npt.NDArray[np.object_], total: npt.NDArray[np.object_], squares: npt.NDArray[np.object_]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """(mean, standard deviation) of each band in stored counts, or steps, dtype float32, shape (band,).

    `count`, `total` and `squares` are Python integers, shape (band,): number, sum and sum of squares of the pixels.
    A band without pixels, or whose pixels all have one value, gets standard deviation 1.
    """
    bands = list(zip(count.tolist(), total.tolist(), squares.tolist(), strict=True))
    mean = [s / n if n else 0.0 for n, s, _ in bands]
    # Integers up to the division: the difference of two large products would lose all digits in floats.
    std = [math.sqrt((n * q - s * s) / (n * n)) or 1.0 if n else 1.0 for n, s, q in bands]
    return np.array(mean, np.float32), np.array(std, np.float32)
