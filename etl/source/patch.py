"""One patch as a source gives it: native pixels with the halo that upsampling needs around them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SCL_CLOUD", "SCL_SNOW", "Patch", "PatchError", "cloud_snow_fraction", "mirror_border"]

SCL_CLOUD = (3, 8, 9, 10)
"""Scene classes that count as cloud: cloud shadow, cloud of medium and of high probability, thin cirrus."""

SCL_SNOW = (11,)
"""Scene classes that count as snow.

Source: ESA, Sentinel-2 Level-2A Algorithm Theoretical Basis Document, scene classification table.
"""


class PatchError(Exception):
    """One patch cannot be made; the message is its reason in `rejected.csv`."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Pixels of one patch; the source reuses the buffers for its next patch."""

    native: tuple[npt.NDArray[np.uint16], ...]
    """The three groups, finest first, shape (band, row, col), uint16, each with the halo of its upsampler around it.

    Beyond the tile's border pixels are mirrored: the first one outside repeats the outermost one inside. Interpolation
    then gives no weight to anything new, and to a network the texture continues."""

    scl: npt.NDArray[np.uint8] | None
    """Scene classes at 20 m, shape (60, 60), or None if the source has none."""


def cloud_snow_fraction(scl: npt.NDArray[np.uint8] | None) -> tuple[float, float]:
    """Fraction of cloud (and shadow) pixels and of snow pixels, in [0, 1]; NaN where there is no classification.

    `scl`: scene classes, shape (row, col), uint8.
    """
    if scl is None:
        return float("nan"), float("nan")
    counts = np.bincount(scl.ravel(), minlength=12)
    return float(counts[list(SCL_CLOUD)].sum() / scl.size), float(counts[list(SCL_SNOW)].sum() / scl.size)


def mirror_border(out: npt.NDArray[np.uint16], inside: tuple[int, int, int, int]) -> None:
    """Fill pixels outside rows [top, bottom) and columns [left, right) with the mirror image of those inside.

    The first pixel outside repeats the outermost one inside; where the halo is wider than the inside, the mirror image
    is mirrored again.

    Args:
        out: shape (band, row, col), uint16, changed in place.
        inside: (top, bottom, left, right) in pixels.
    """
    top, bottom, left, right = inside
    for row in (*range(top), *range(bottom, out.shape[1])):
        out[:, row] = out[:, _mirrored(row, top, bottom)]
    for column in (*range(left), *range(right, out.shape[2])):
        out[:, :, column] = out[:, :, _mirrored(column, left, right)]


def _mirrored(position: int, first: int, stop: int) -> int:
    """The position in [first, stop) of which `position`, outside, is the mirror image."""
    # mirroring without end has a period of twice the length
    step = (position - first) % (2 * (stop - first))
    return first + min(step, 2 * (stop - first) - 1 - step)
