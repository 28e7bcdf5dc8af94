"""Reflectance to colours on a screen, and the colours of the maps."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED

__all__ = ["FATE_COLOURS", "INK", "PAPER", "QUIET", "Stretch", "stretch_of"]

PAPER, INK, QUIET = "#fbfaf7", "#1f2a33", "#6b7780"

FATE_COLOURS = {
    "not listed": "#eceae4",
    "not written": "#ffffff",
    "snow": "#a9d6e8",
    "cloud or shadow": "#a7a29a",
    "rejected": "#d33f49",
    "no split": "#7d9a8c",
    "train": "#2b6a8f",
    "val": "#e8a33d",
    "test": "#7b5aa6",
}
"""Colour of each of `etl.preview.cells.FATES`."""

_NODATA_GREY = 0.88
_GAMMA = 0.8
_PERCENTILES = (1.0, 99.0)


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """How reflectance becomes brightness, one range a band."""

    low: npt.NDArray[np.float32]
    """Black, shape (band,)."""

    high: npt.NDArray[np.float32]
    """Full brightness, shape (band,)."""

    def __call__(self, pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
        """Brightness in [0, 1], shape and bands as `pixels` (row, col, band); pixels without data in light grey."""
        scaled = (pixels.astype(np.float32) - self.low) / (self.high - self.low)
        out = np.clip(scaled, 0, 1) ** np.float32(_GAMMA)
        out[(pixels == NODATA).all(-1)] = _NODATA_GREY
        return np.asarray(out, np.float32)


def stretch_of(pixels: npt.NDArray[np.uint16]) -> Stretch:
    """The stretch that takes the middle 98 % of each band's valid values, over all of `pixels`, shape (..., band)."""
    bounds = []
    for values in pixels.reshape(-1, pixels.shape[-1]).T:
        valid = values[(values != NODATA) & (values != SATURATED)]
        low, high = np.percentile(valid, _PERCENTILES) if len(valid) else (0.0, 1.0)
        bounds.append((low, max(high, low + 1)))
    low, high = np.array(bounds, np.float32).T
    return Stretch(low, high)
