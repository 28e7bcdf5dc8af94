"""Exact statistics of pixels, row by row: counts, sums and sums of squares per split and band, as integers.

One patch's sums fit float64 exactly (14,400 x 65,534^2 < 2^53), so that a BLAS product gives them without rounding;
larger patches are summed in parts. They are added up as Python integers, which never overflow. At full size the sums of
squares pass 64 bits.

Backscatter of Sentinel-1, float32 in dB, is rounded to steps of 1/1024 dB before, so that its sums are exact integers,
too, and depend on no order.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED
from etl.pixel_groups import MOST_DB, STEPS_PER_DB
from etl.schema import SPLITS, STATS, DataSet

Pixels = TypeVar("Pixels", bound=np.unsignedinteger[Any] | np.float32)

_EXACT_PIXELS = 1 << 21
"""Pixels of a band up to which a sum of squares of uint16 is exact in float64."""

__all__ = ["Sums", "from_words", "plane_sums", "row_sums", "statistics_arrays", "to_words"]


def row_sums(
    pixels: npt.NDArray[Pixels], nodata: int | None = NODATA, saturated: int | None = SATURATED
) -> npt.NDArray[np.int64]:
    """Statistics of one row, shape (statistic as in `STATS`, band), int64, of its pixels: (row, col, band).

    Pixels are uint8 or uint16, and `nodata` and `saturated` are the values that are counted apart, None if there is
    none; or backscatter in dB, float32, of which NaN is counted apart.
    """
    return plane_sums(pixels.transpose(2, 0, 1), nodata, saturated)


def plane_sums(
    planes: npt.NDArray[Pixels], nodata: int | None = NODATA, saturated: int | None = SATURATED
) -> npt.NDArray[np.int64]:
    """As `row_sums`, of pixels that are still one plane for each band: shape (band, row, col)."""
    bands, rows = len(planes), planes.shape[1]
    if planes[0].size > _EXACT_PIXELS and rows > 1:
        halves = planes[:, : rows // 2], planes[:, rows // 2 :]
        return plane_sums(halves[0], nodata, saturated) + plane_sums(halves[1], nodata, saturated)
    flat = planes.reshape(bands, -1)
    out = np.zeros((len(STATS), bands), np.int64)
    out[0] = flat.shape[1]
    if flat.dtype.kind == "f":
        missing = np.isnan(flat)
        out[3] = missing.sum(1)
        out[0] -= out[3]
        values = np.rint(np.clip(np.where(missing, 0, flat), -MOST_DB, MOST_DB).astype(np.float64) * STEPS_PER_DB)
        nodata = saturated = None
    else:
        values = flat.astype(np.float64)
    out[1] = values @ np.ones(flat.shape[1])
    out[2] = np.vecdot(values, values)
    least, most = flat.min(), flat.max()
    for at, value in ((3, nodata), (4, saturated)):
        if value is not None and least <= value <= most:
            out[at] = (flat == value).sum(1)
            out[0] -= out[at]
            out[1] -= out[at] * value
            out[2] -= out[at] * value**2
    return out


class Sums:
    """Accumulator of exact statistics of many rows, by pixel array."""

    def __init__(self, pixels: Sequence[DataSet]) -> None:
        self.totals = {item.name: np.zeros((len(SPLITS), len(STATS), item.shape[-1]), object) for item in pixels}
        """Python integers, shape (split, statistic, band): sums of squares of a whole store pass 64 bits."""

    def add(self, split: int, name: str, sums: npt.NDArray[np.int64]) -> None:
        """Add one row's statistics of one pixel array, shape (statistic, band), int64."""
        self.totals[name][split] += sums.astype(object)

    def merge(self, others: Sequence[Mapping[str, npt.NDArray[np.object_]]]) -> None:
        """Add the `totals` of other accumulators, shape (split, statistic, band)."""
        for other in others:
            for name, total in other.items():
                self.totals[name] = self.totals[name] + total


def to_words(total: npt.NDArray[np.object_]) -> npt.NDArray[np.uint64]:
    """Python integers, shape (...), as uint64 words in two's complement, high before low, shape (..., 2)."""
    words = [[int(v) >> 64 & (2**64 - 1), int(v) & (2**64 - 1)] for v in total.ravel()]
    return np.array(words, np.uint64).reshape(*total.shape, 2)


def statistics_arrays(totals: Mapping[str, npt.NDArray[np.object_]]) -> dict[str, npt.NDArray[np.uint64]]:
    """The arrays `Schema.statistics` by name, shape (split, band, word), uint64, from `Sums.totals`."""
    return {
        f"stats/{name}/{statistic}": to_words(total[:, k])
        for name, total in totals.items()
        for k, statistic in enumerate(STATS)
    }


def from_words(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.object_]:
    """Python integers of shape (...,) from uint64 words, high before low, of shape (..., 2)."""
    high, low = words[..., 0].astype(np.int64).astype(object), words[..., 1].astype(object)
    return np.asarray(high * 2**64 + low, object)
