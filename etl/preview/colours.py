"""Reflectance to colours on a screen, and the colours of the maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED
from etl.tables import read_table

__all__ = [
    "FALSE_COLOUR",
    "MUTED",
    "NODATA_COLOUR",
    "PAPER",
    "STATUS_COLOURS",
    "TEXT",
    "TRUE_COLOUR",
    "Stretch",
    "fit_stretch",
]

PAPER, TEXT, MUTED = "#fbfaf7", "#1f2a33", "#6b7780"
"""Colours of the background, of text, and of secondary text."""

NODATA_COLOUR = "#1f2a33"
"""Colour that fills a map's cells up to the share of their pixels without data."""

STATUS_COLOURS = {row["status"]: row["colour"] for row in read_table(__file__, "status_colours.csv")}
"""Colour of each of `etl.preview.cells.CELL_STATUS`."""

TRUE_COLOUR, FALSE_COLOUR = ("B04", "B03", "B02"), ("B08", "B04", "B03")
"""Bands shown in red, green and blue."""

_NODATA_GREY = 0.88
_GAMMA = 0.8
_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Reflectance to brightness, one range for each band."""

    low: npt.NDArray[np.float32]
    """Pixel value shown as black, shape (band,)."""

    high: npt.NDArray[np.float32]
    """Pixel value shown at full brightness, shape (band,)."""

    nodata: int | None = NODATA
    """Pixel value without data; None if there is none."""

    gamma: float = _GAMMA
    """Exponent of brightness."""

    def __call__(self, pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return brightness in [0, 1], shape as `pixels`, (row, col, band), float32; nodata in light grey."""
        scaled = (pixels.astype(np.float32) - self.low) / (self.high - self.low)
        out = np.clip(scaled, 0, 1) ** np.float32(self.gamma)
        if self.nodata is not None:  # grey, because black would look like water
            out[(pixels == self.nodata).all(-1)] = _NODATA_GREY
        return np.asarray(out, np.float32)

    def take(self, bands: Sequence[int]) -> "Stretch":
        """Return the stretch, limits of shape (band,), of these bands alone, given by their index."""
        return Stretch(self.low[bands], self.high[bands], self.nodata, self.gamma)


def fit_stretch(pixels: npt.NDArray[Any], nodata: int | None = NODATA, saturated: int | None = SATURATED) -> Stretch:
    """Return the stretch of the middle 98 % of each band's valid values, over all of `pixels`, shape (..., band).

    Pixels of uint8 are shown as they are. `nodata`, `saturated`: values that are left out; None if there is none.
    """
    if pixels.dtype == np.uint8:
        black = np.zeros(pixels.shape[-1], np.float32)
        return Stretch(black, black + np.float32(255), nodata, 1.0)
    bounds = []
    for values in pixels.reshape(-1, pixels.shape[-1]).T:
        valid = values[~np.isin(values, [value for value in (nodata, saturated) if value is not None])]
        low, high = np.percentile(valid, _PERCENTILES) if len(valid) else (0.0, 1.0)
        bounds.append((low, max(high, low + 1)))  # never an empty range, by which pixels would be divided
    low, high = np.array(bounds, np.float32).T
    return Stretch(low, high, nodata)
