"""One patch, upsampled or rejected, before it is copied into a batch; and the statistics of its pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.extract.candidates import OpenRow
from etl.pixel_groups import SENTINEL1
from etl.schema import DataSet
from etl.source.patch import PixelShares
from etl.store.statistics import plane_sums

__all__ = ["PreparedPatch", "sums_of_planes"]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedPatch:
    """One patch, upsampled or rejected, before it is copied into a batch."""

    row: int
    """Row in the store."""

    shares: PixelShares
    """Shares of pixels without data, of cloud and of snow, 0 to 1."""

    problem: str
    """Why the patch is rejected; empty if it is kept."""

    lacking: float = math.inf
    """As of `OpenRow`."""

    missing: str = ""
    """As of `OpenRow`."""

    native: tuple[npt.NDArray[np.uint16], ...] = ()
    """The three groups without halo, shape (band, row, col); empty for a rejected patch."""

    upsampled: npt.NDArray[np.uint16] | None = None
    """`data_super`, shape (band, row, col); None if nothing is upsampled."""

    upsample_s: float = 0.0
    """Seconds that upsampling took."""

    earlier: OpenRow | None = None
    """What an earlier product gave, if this one has no more of the patch: the row of the store then stays."""

    backscatter: npt.NDArray[np.float32] | None = None
    """`data_s1`, shape (band, row, col), in dB; None if it is not wanted, and for a rejected patch."""

    def planes(self, native: Sequence[DataSet]) -> dict[str, npt.NDArray[Any]]:
        """Pixels by data set, shape (band, row, col); `native`: the data sets of `self.native`."""
        planes: dict[str, npt.NDArray[Any]] = {item.name: part for item, part in zip(native, self.native, strict=True)}
        if self.upsampled is not None:
            planes["data_super"] = self.upsampled
        if self.backscatter is not None:
            planes[SENTINEL1] = self.backscatter
        return planes

    def empty_bands(self, nodata: int | None) -> bool:
        """Whether a whole band has no data, which is the value `nodata`."""
        return self.shares.nodata == 1 and any((part == nodata).all(axis=(1, 2)).any() for part in self.native)


def sums_of_planes(planes: Mapping[str, npt.NDArray[Any]], native: DataSet) -> dict[str, npt.NDArray[np.int64]]:
    """Statistics of each data set's planes; data_super holds the 10 m bands unchanged, so those are summed once.

    `native`: a data set that states nodata and saturated, which are the same in all of reflectance.
    """
    nodata, saturated = native.nodata, native.saturated
    finest, upsampled = f"data_{GROUPS[0].name}", "data_super" in planes
    sums = {
        name: plane_sums(part, nodata, saturated) for name, part in planes.items() if not (upsampled and name == finest)
    }
    return sums | {finest: sums["data_super"][:, list(GROUPS[0].super_index)]} if upsampled else sums
