"""One patch as a source gives it: native pixels with the context that upsampling asks for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SCL_CLOUD", "SCL_SNOW", "Patch", "PatchError", "mirror_border", "shares"]

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
    """Pixels of one patch; buffers may be used again once the next patch is asked for."""

    native: tuple[npt.NDArray[np.uint16], ...]
    """The three groups, finest first, shape (band, row, col), each with its upsampler's context around it.

    Beyond a tile's border its pixels are mirrored: the first one outside is the outermost one, once more, which gives
    it no new weight in interpolation, and a network sees texture go on."""

    scl: npt.NDArray[np.uint8] | None
    """Scene classes at 20 m, shape (60, 60), or None where the source has none."""


def shares(scl: npt.NDArray[np.uint8] | None) -> tuple[float, float]:
    """Share of cloud (and shadow) pixels and of snow pixels in [0, 1]; NaN where there is no classification."""
    if scl is None:
        return float("nan"), float("nan")
    counts = np.bincount(scl.ravel(), minlength=12)
    return float(counts[list(SCL_CLOUD)].sum() / scl.size), float(counts[list(SCL_SNOW)].sum() / scl.size)


def mirror_border(out: npt.NDArray[np.uint16], inside: tuple[int, int, int, int]) -> None:
    """Fill what lies outside rows [top, bottom) and columns [left, right) with what lies inside, mirrored.

    `out`: shape (band, row, col).
    The first pixel outside is the outermost one inside, once more; where more is asked for than there is, the mirror
    image is mirrored again.
    """
    top, bottom, left, right = inside
    for row in (*range(top), *range(bottom, out.shape[1])):
        out[:, row] = out[:, _mirrored(row, top, bottom)]
    for column in (*range(left), *range(right, out.shape[2])):
        out[:, :, column] = out[:, :, _mirrored(column, left, right)]


def _mirrored(place: int, first: int, stop: int) -> int:
    """Where in [first, stop) a place outside finds its mirror image."""
    step = (place - first) % (2 * (stop - first))
    return first + min(step, 2 * (stop - first) - 1 - step)
