"""Images at a coarser grid, and interpolated back: Wald's protocol measures what of the original comes back.

Source: Wald, Ranchin, Mangolini, Photogrammetric Engineering and Remote Sensing 63 (1997) 691-699; as Lanaras et al.
2018 apply it: a Gaussian of sigma = 1 / scale pixels, then the mean of each block.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from etl.bands import NODATA, SATURATED
from etl.upsample.bilinear import interpolate
from etl.upsample.gaps import fill, without_data

__all__ = ["bicubic", "bilinear", "blurred", "degrade"]

_RINGS = 8
"""Gaps are filled this far before an image is blurred: the Gaussian is cut at 4 sigma."""

Image = npt.NDArray[np.float32]


def degrade(image: npt.NDArray[np.uint16], factor: int) -> npt.NDArray[np.uint16]:
    """The image `factor` times coarser, shape (row, col, band), uint16; sides must be multiples of `factor`.

    A block with a pixel without data becomes nodata.
    """
    coarse = np.clip(np.rint(blurred(fill(image, _RINGS), factor)), NODATA + 1, SATURATED - 1).astype(np.uint16)
    coarse[_blocks(without_data(image), factor).any((1, 3))] = NODATA
    return coarse


def blurred(image: Image, factor: int) -> Image:
    """The same of values that are all valid, float32, neither rounded nor clipped."""
    smooth = ndimage.gaussian_filter(image, 1 / factor, mode="reflect", axes=(0, 1))
    mean: Image = _blocks(smooth, factor).mean((1, 3), dtype=np.float64).astype(np.float32)
    return mean


def _blocks(image: npt.NDArray[np.generic], factor: int) -> npt.NDArray[np.generic]:
    """Shape (row, factor, col, factor, band)."""
    rows, columns, bands = image.shape
    return image.reshape(rows // factor, factor, columns // factor, factor, bands)


def bilinear(image: npt.NDArray[np.uint16], factor: int) -> Image:
    """The image `factor` times finer, float32, aligned by pixel area."""
    return interpolate(np.pad(fill(image, _RINGS), ((1, 1), (1, 1), (0, 0)), "symmetric"), factor)


def bicubic(image: npt.NDArray[np.uint16], factor: int) -> Image:
    """The same by cubic splines."""
    zoom = (factor, factor, 1)
    fine: Image = ndimage.zoom(fill(image, _RINGS), zoom, order=3, mode="reflect", grid_mode=True)
    return fine
