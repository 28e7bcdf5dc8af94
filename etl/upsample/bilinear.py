"""Bilinear upsampling to the 10 m grid, aligned by pixel area, exact to the last count on every machine.

A 20 m pixel covers 2 x 2 pixels of 10 m, a 60 m pixel 6 x 6: an output pixel's centre lies between the centres of four
source pixels, and its weights are whole multiples of 1/4 and 1/12 along each axis. Two matrix products with those whole
numbers, in float32, are exact (every sum stays below 2^24), so that the one rounding at the end does not depend on the
machine, the library or the unit of work. Pixels without data (nodata, saturated) have no weight; an output pixel whose
own source pixel is one of them keeps that value. A halo of one pixel makes borders between patches seamless.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED
from etl.upsample.gaps import invalid_mask

__all__ = ["interpolate_bilinear", "upsample_bilinear"]

FloatImage = npt.NDArray[np.float32]


@cache
def _weight_matrix(pixels: int, factor: int) -> FloatImage:
    """Weights x 2 `factor` of `pixels` + 2 source pixels in `pixels` x `factor` output pixels, shape (out, in)."""
    out = np.zeros((pixels * factor, pixels + 2), np.float32)
    rows = np.arange(pixels * factor)
    # the dividend is 2 * factor * (distance from the first source pixel's centre)
    first, weight = divmod(2 * rows + 1 + factor, 2 * factor)
    out[rows, first], out[rows, first + 1] = 2 * factor - weight, weight
    return out


def upsample_bilinear(window: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """Return the window without its halo, `factor` times finer, rounded to nearest.

    `window`: shape (band, row, col), uint16, with a halo of one pixel on each side. Returns shape
    (band, (row - 2) x factor, (col - 2) x factor), uint16.
    """
    # most windows have no gap, and then one product for the values is enough
    if window.min() == NODATA or window.max() == SATURATED:
        return _upsample_with_gaps(window, factor)
    total = _weighted_sums(window.astype(np.float32), factor)
    total += 2 * factor * factor  # half of the divisor, so that cutting off the fraction rounds to nearest
    total /= 4 * factor * factor
    fine: npt.NDArray[np.uint16] = total.astype(np.uint16)
    return fine


def interpolate_bilinear(window: FloatImage, factor: int) -> FloatImage:
    """Return what `upsample_bilinear` would round, as input of a network; every pixel counts as valid.

    `window`: shape (row, col, band), float32, whole numbers below 65536, with a halo of one pixel on each side.
    Returns shape ((row - 2) x factor, (col - 2) x factor, band), float32, one rounding away from the exact mean.
    """
    fine: FloatImage = _weighted_sums(window.transpose(2, 0, 1), factor) / np.float32(4 * factor * factor)
    return fine.transpose(1, 2, 0)


def _weighted_sums(planes: FloatImage, factor: int) -> FloatImage:
    """Exact sums, 4 `factor`^2 times the mean; `planes`: shape (band, row, col), float32."""
    down, across = (_weight_matrix(pixels - 2, factor) for pixels in planes.shape[1:])
    half = np.matmul(down, planes)
    # one product for all bands takes half the time of one for each
    total: FloatImage = half.reshape(-1, half.shape[2]) @ across.T
    return total.reshape(*half.shape[:2], -1)


def _upsample_with_gaps(window: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """As `upsample_bilinear`; pixels without data have no weight: weighted sum / sum of weights."""
    valid = (~invalid_mask(window)).astype(np.float32)
    total = _weighted_sums(window * valid, factor).astype(np.int64)
    weight = _weighted_sums(valid, factor).astype(np.int64)
    mean = (2 * total + weight) // np.maximum(2 * weight, 1)  # rounded to nearest in whole numbers
    source = np.repeat(np.repeat(window[:, 1:-1, 1:-1], factor, 1), factor, 2)
    return np.where(invalid_mask(source), source, mean).astype(np.uint16)
