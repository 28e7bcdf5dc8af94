"""One patch as a source gives it: native pixels with the halo that upsampling needs around them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA
from etl.grid import PixelWindow

__all__ = [
    "SCL_CLOUD",
    "SCL_SNOW",
    "UNKNOWN_SHARES",
    "Patch",
    "PatchError",
    "PixelShares",
    "mirror_border",
    "pixel_shares",
]

SCL_CLOUD = (3, 8, 9, 10)
"""Scene classes that count as cloud: cloud shadow, cloud of medium and of high probability, thin cirrus."""

SCL_SNOW = (11,)
"""Scene classes that count as snow.

Source: ESA, Sentinel-2 Level-2A Algorithm Theoretical Basis Document, scene classification table.
"""


_SCL_NODATA = 0
"""Scene class of a pixel without data."""


class PatchError(Exception):
    """One patch cannot be extracted; the message is its reason in `rejected.csv`."""


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Pixels of one patch; the source reuses the buffers for its next patch."""

    native: tuple[npt.NDArray[np.uint16], ...]
    """The three groups, finest first, shape (band, row, col), uint16, each with the halo of its upsampler around it.
    Of an image file its one group, uint8 or uint16, without a halo.

    Beyond the tile's border pixels are mirrored: the first one outside repeats the outermost one inside. Interpolation
    then gives no weight to anything new, and to a network the texture continues."""

    scl: npt.NDArray[np.uint8] | None
    """Scene classes at 20 m, shape (60, 60), or None if the source has none."""


class PixelShares(NamedTuple):
    """Shares of a patch's pixels, in [0, 1]; NaN where unknown."""

    nodata: float
    """Of all pixels of the finest band, those without data in at least one band; coarse pixels count repeated."""

    cloud: float
    """Of the classified pixels with data in all bands, cloud and its shadow; NaN if there is none."""

    snow: float
    """As `cloud`, of snow."""

    @property
    def unclassified(self) -> bool:
        """Whether no pixel with data has a scene class."""
        return bool(np.isnan(self.cloud))


UNKNOWN_SHARES = PixelShares(float("nan"), float("nan"), float("nan"))
"""Shares of a patch whose pixels could not be read."""


def pixel_shares(
    planes: Sequence[npt.NDArray[np.uint16]], scl: npt.NDArray[np.uint8] | None, nodata_value: int | None = NODATA
) -> PixelShares:
    """Shares of pixels without data, of cloud and of snow.

    Args:
        planes: the bands by pixel size, finest first, without halo, each of shape (band, row, col), uint16.
        scl: scene classes, shape (row, col), uint8, pixels no smaller than the finest; None if there is none.
        nodata_value: value of a pixel without data; None if every pixel has data.
    """
    empty = None if nodata_value is None else _nodata_pixels(planes, nodata_value)
    nodata = 0.0 if empty is None else float(empty.mean())
    if scl is None:
        return PixelShares(nodata, float("nan"), float("nan"))
    if empty is not None:
        factor = len(empty) // len(scl)
        without_data = empty.reshape(len(scl), factor, -1, factor).any(axis=(1, 3))
        scl = np.where(without_data, np.uint8(_SCL_NODATA), scl)
    counts = np.bincount(scl.ravel(), minlength=12)
    classified = scl.size - counts[_SCL_NODATA]
    if not classified:
        return PixelShares(nodata, float("nan"), float("nan"))
    cloud, snow = (float(counts[list(classes)].sum() / classified) for classes in (SCL_CLOUD, SCL_SNOW))
    return PixelShares(nodata, cloud, snow)


def _nodata_pixels(planes: Sequence[npt.NDArray[np.uint16]], nodata_value: int) -> npt.NDArray[np.bool_] | None:
    """Whether each pixel of the finest bands lacks data in any band, shape (row, col); None if none does."""
    if all(not part.min() <= nodata_value <= part.max() for part in planes):  # nearly every patch
        return None
    empty = np.zeros(planes[0].shape[1:], bool)
    for part in planes:
        mask, factor = (part == nodata_value).any(axis=0), len(empty) // part.shape[1]
        empty |= mask.repeat(factor, axis=0).repeat(factor, axis=1)
    return empty


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
