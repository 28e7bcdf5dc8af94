"""Patches of a store as pictures in true colour."""

import numpy as np
import numpy.typing as npt

from etl.pixel_groups import only_array, true_colour_of
from etl.store.reader import StoreReader
from trainer.config import RGB_BANDS

__all__ = ["true_colour"]

_WHITE = 3000.0
"""Stored counts (reflectance 0.3) that are drawn white."""


def true_colour(store: StoreReader, store_rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8] | None:
    """Red, green and blue of these rows, uint8, shape (patch, row, col, 3); None if the store lacks such bands.

    Image files are stretched from the 1st to the 99th percentile of these rows.

    Raises:
        ValueError: bytes of the store are not what was written.
        OSError: the store is truncated, or cannot be reached.
    """
    only = only_array(store.names)
    if only is not None:
        shown = true_colour_of(store.text("band_" + only.removeprefix("data_")))
        pixels = store.read(only, store_rows)[..., shown]
        black, white = np.percentile(pixels, (1, 99), axis=(0, 1, 2))  # 8 bits need not be bright either
        brightness = (pixels - black) / np.maximum(white - black, 1)
    else:
        bands = store.text("band_10m") if {"band_10m", "data_10m"} <= set(store.names) else ()
        if not set(RGB_BANDS) <= set(bands):
            return None
        brightness = store.read("data_10m", store_rows)[..., [bands.index(band) for band in RGB_BANDS]] / _WHITE
    return np.asarray(np.clip(brightness, 0, 1) * 255).astype(np.uint8)
