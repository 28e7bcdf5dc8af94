"""Fill pixels without data from their neighbours, for networks, which know no nodata.

A filled pixel depends only on pixels at most `radius` away, so that it does not matter which window it is seen in. With
a radius as large as a network's receptive field, no pixel with data sees one that is still empty in the same band.
"""

from itertools import product

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED

__all__ = ["fill_gaps", "invalid_mask"]

# upper left corners of the eight shifted views of an array padded by one pixel
_NEIGHBOURS = [step for step in product((0, 1, 2), repeat=2) if step != (1, 1)]


def invalid_mask(pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Return which pixels are nodata or saturated; same shape, bool."""
    invalid: npt.NDArray[np.bool_] = (pixels == NODATA) | (pixels == SATURATED)
    return invalid


def fill_gaps(window: npt.NDArray[np.uint16], radius: int) -> npt.NDArray[np.float32]:
    """Return the window with its gaps filled, shape (row, col, band), float32, whole numbers.

    In each of `radius` steps an empty pixel with known pixels among its eight neighbours is set to their mean, rounded;
    pixels that stay empty are 0.
    """
    empty = invalid_mask(window)
    values = window.astype(np.float32)
    if not empty.any():
        return values
    values[empty] = 0
    known = ~empty
    for _ in range(radius):
        total, count = _neighbour_sum(values), _neighbour_sum(known.astype(np.float32))
        new = ~known & (count > 0)
        if not new.any():
            break
        # rounded, so that the next sums are of whole numbers and exact again
        values[new] = np.rint(total[new] / count[new])
        known |= new
    return values


def _neighbour_sum(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sum of the eight neighbours of each pixel: whole numbers below 2^24, so exact."""
    rows, columns = values.shape[:2]
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    total = np.zeros_like(values)
    for row, column in _NEIGHBOURS:
        total += padded[row : row + rows, column : column + columns]
    return total
