"""Convert pixel values of any processing baseline to those of the store: surface reflectance x 10,000, no offset.

Nodata 0 stays 0 and saturated 65535 stays 65535; every other value becomes (value + offset) x 10,000 / quantification,
rounded to nearest and clipped to [1, 65534].

Source: ESA, Sentinel-2 Products Specification Document, `BOA_ADD_OFFSET` (since processing baseline 04.00).
"""

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED

__all__ = ["lookup_table"]


def lookup_table(offset: int, quantification: float) -> npt.NDArray[np.uint16] | None:
    """The store's value for each pixel value of a product, shape (65536,), uint16; None if nothing changes.

    Args:
        offset: `BOA_ADD_OFFSET` of the band, in units of the pixel values.
        quantification: pixel value that stands for reflectance 1.
    """
    if offset == 0 and quantification == 10_000:
        return None
    values = np.arange(65536, dtype=np.float64)
    # floor(x + 0.5), not np.rint: halves go up, whatever the neighbouring value
    scaled = np.floor((values + offset) * (10_000 / quantification) + 0.5)
    # a valid dark pixel must not turn into nodata 0, nor a bright one into saturated 65535
    out = np.clip(scaled, 1, 65534).astype(np.uint16)
    out[NODATA], out[SATURATED] = NODATA, SATURATED
    return out
