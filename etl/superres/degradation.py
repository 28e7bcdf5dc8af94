"""Make images coarser and interpolate them back: Wald's protocol measures how much of the original returns.

Source: Wald, Ranchin, Mangolini, Photogrammetric Engineering and Remote Sensing 63 (1997) 691-699; as Lanaras et al.
2018 apply it: a Gaussian of sigma = 1 / scale pixels, then the mean of each block.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from etl.bands import NODATA, SATURATED
from etl.upsample.bilinear import interpolate_bilinear
from etl.upsample.gaps import fill_gaps, invalid_mask

__all__ = ["blur_and_average", "degrade", "resize_bicubic", "resize_bilinear"]

# gaps are filled this far before an image is blurred: the Gaussian is cut at 4 sigma
_FILL_RADIUS_PX = 8

FloatImage = npt.NDArray[np.float32]


def degrade(image: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """Return the image `factor` times coarser, shape (row, col, band), uint16; sides must be multiples of `factor`.

    A block with a pixel without data becomes nodata.
    """
    mean = blur_and_average(fill_gaps(image, _FILL_RADIUS_PX), factor)
    coarse = np.clip(np.rint(mean), NODATA + 1, SATURATED - 1).astype(np.uint16)
    coarse[_blocks(invalid_mask(image), factor).any((1, 3))] = NODATA
    return coarse


def blur_and_average(image: FloatImage, factor: int) -> FloatImage:
    """Return the image `factor` times coarser, shape (row, col, band), float32; every pixel counts as valid.

    Values are neither rounded nor clipped.
    """
    smooth = ndimage.gaussian_filter(image, 1 / factor, mode="reflect", axes=(0, 1))
    mean: FloatImage = _blocks(smooth, factor).mean((1, 3), dtype=np.float64).astype(np.float32)
    return mean


def _blocks(image: npt.NDArray[np.generic], factor: int) -> npt.NDArray[np.generic]:
    """View of shape (row, factor, col, factor, band)."""
    rows, columns, bands = image.shape
    return image.reshape(rows // factor, factor, columns // factor, factor, bands)


def resize_bilinear(image: npt.NDArray[np.uint16], factor: int) -> FloatImage:
    """Return the image `factor` times finer, shape (row, col, band), float32, aligned by pixel area."""
    padded = np.pad(fill_gaps(image, _FILL_RADIUS_PX), ((1, 1), (1, 1), (0, 0)), "symmetric")
    return interpolate_bilinear(padded, factor)


def resize_bicubic(image: npt.NDArray[np.uint16], factor: int) -> FloatImage:
    """Return the same by cubic splines, shape (row, col, band), float32."""
    zoom = (factor, factor, 1)
    fine: FloatImage = ndimage.zoom(fill_gaps(image, _FILL_RADIUS_PX), zoom, order=3, mode="reflect", grid_mode=True)
    return fine
