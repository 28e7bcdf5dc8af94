"""Pixel values of any processing baseline as values of the store: surface reflectance x 10,000 without an offset.

nodata 0 stays 0 and saturated 65535 stays 65535; every other value becomes (value + offset) x 10,000 / quantification,
rounded to nearest and clipped to [1, 65534].

Source: ESA, Sentinel-2 Products Specification Document, `BOA_ADD_OFFSET` (since processing baseline 04.00).
"""

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED

__all__ = ["table"]


def table(offset: int, quantification: float) -> npt.NDArray[np.uint16] | None:
    """What each of the 65,536 pixel values becomes, shape (65536,), uint16; None where nothing changes."""
    if offset == 0 and quantification == 10_000:
        return None
    values = np.arange(65536, dtype=np.float64)
    scaled = np.floor((values + offset) * (10_000 / quantification) + 0.5)
    out = np.clip(scaled, 1, 65534).astype(np.uint16)
    out[NODATA], out[SATURATED] = NODATA, SATURATED
    return out
