"""One patch as a source gives it: native pixels with the halo that upsampling needs around them."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from etl.grid import PixelWindow

__all__ = ["SCL_CLOUD", "SCL_SNOW", "CloudSnow", "Patch", "PatchError", "cloud_snow_fraction", "mirror_border"]

SCL_CLOUD = (3, 8, 9, 10)
"""Scene classes that count as cloud: cloud shadow, cloud of medium and of high probability, thin cirrus."""

SCL_SNOW = (11,)
"""Scene classes that count as snow.

Source: ESA, Sentinel-2 Level-2A Algorithm Theoretical Basis Document, scene classification table.
"""


class PatchError(Exception):
    """One patch cannot be extracted; the message is its reason in `rejected.csv`."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Pixels of one patch; the source reuses the buffers for its next patch."""

    native: tuple[npt.NDArray[np.uint16], ...]
    """The three groups, finest first, shape (band, row, col), uint16, each with the halo of its upsampler around it.

    Beyond the tile's border pixels are mirrored: the first one outside repeats the outermost one inside. Interpolation
    then gives no weight to anything new, and to a network the texture continues."""

    scl: npt.NDArray[np.uint8] | None
    """Scene classes at 20 m, shape (60, 60), or None if the source has none."""


class CloudSnow(NamedTuple):
    """Fractions of a patch's pixels: cloud (and its shadow) and snow, in [0, 1]; NaN without a scene classification."""

    cloud: float
    snow: float


def cloud_snow_fraction(scl: npt.NDArray[np.uint8] | None) -> CloudSnow:
    """Fractions of cloud and of snow pixels in scene classes `scl`, shape (row, col), uint8; None gives NaN."""
    if scl is None:
        return CloudSnow(float("nan"), float("nan"))
    counts = np.bincount(scl.ravel(), minlength=12)
    cloud, snow = (float(counts[list(classes)].sum() / scl.size) for classes in (SCL_CLOUD, SCL_SNOW))
    return CloudSnow(cloud, snow)


def mirror_border(out: npt.NDArray[np.uint16], inside: PixelWindow) -> None:
    """Fill the pixels outside a window of `out` with the mirror image of those inside it.

    The first pixel outside repeats the outermost one inside; where the halo is wider than the inside, the mirror image
    is mirrored again.

    Args:
        out: shape (band, row, col), uint16, changed in place.
        inside: window of `out` that holds pixels.
    """
    top, left = inside.row, inside.col
    bottom, right = top + inside.height, left + inside.width
    for row in (*range(top), *range(bottom, out.shape[1])):
        out[:, row] = out[:, _mirrored(row, top, bottom)]
    for column in (*range(left), *range(right, out.shape[2])):
        out[:, :, column] = out[:, :, _mirrored(column, left, right)]


def _mirrored(position: int, first: int, stop: int) -> int:
    """The position in [first, stop) of which `position`, outside, is the mirror image."""
    # mirroring without end has a period of twice the length
    step = (position - first) % (2 * (stop - first))
    return first + min(step, 2 * (stop - first) - 1 - step)
