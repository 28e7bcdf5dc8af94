"""Pixels without data filled for a network, which knows no nodata: ring by ring, from what is around them.

A filled pixel depends only on pixels at most `rings` away, so that it does not matter which window it is seen in. With
as many rings as a network's reach, no pixel with data sees one that is still empty in the same band.
"""

from itertools import product

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED

__all__ = ["fill", "without_data"]

_AROUND = [step for step in product((0, 1, 2), repeat=2) if step != (1, 1)]
"""Upper left corners of the eight shifted views of an array padded by one pixel."""


def without_data(pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.bool_]:
    """Which pixels are nodata or saturated, same shape."""
    empty: npt.NDArray[np.bool_] = (pixels == NODATA) | (pixels == SATURATED)
    return empty


def fill(window: npt.NDArray[np.uint16], rings: int) -> npt.NDArray[np.float32]:
    """The window with its gaps filled, shape (row, col, band), float32, whole numbers.

    `rings` times each gap pixel with a filled neighbour, of the eight around it, takes their mean, rounded; what is
    farther from data is 0.
    """
    empty = without_data(window)
    values = window.astype(np.float32)
    if not empty.any():
        return values
    values[empty] = 0
    known = ~empty
    for _ in range(rings):
        total, count = _around(values), _around(known.astype(np.float32))
        new = ~known & (count > 0)
        if not new.any():
            break
        values[new] = np.rint(total[new] / count[new])
        known |= new
    return values


def _around(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sum of the eight neighbours of each pixel: whole numbers below 2^24, so exact."""
    rows, columns = values.shape[:2]
    padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
    total = np.zeros_like(values)
    for row, column in _AROUND:
        total += padded[row : row + rows, column : column + columns]
    return total
