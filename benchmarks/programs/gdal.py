"""Bare GDAL loops with the best known settings, to measure reading alone. The only module here that imports osgeo."""

import os

# 0: OpenJPEG decodes in the calling thread; 1 would start a second thread for all the work, while the first one waits.
os.environ.setdefault("OPJ_NUM_THREADS", "0")

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from osgeo import gdal

__all__ = ["decode_blocks", "read_patches"]

gdal.UseExceptions()

for _key, _value in {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
    "GDAL_CACHEMAX": "16",
    "VSI_CACHE": "NO",
}.items():
    gdal.SetConfigOption(_key, _value)

_PATCH = {"B02": 120, "B03": 120, "B04": 120, "B08": 120, "B01": 20, "B09": 20} | dict.fromkeys(
    ("B05", "B06", "B07", "B8A", "B11", "B12"), 60
)


def decode_blocks(files: Sequence[dict[str, Any]], rank: int, size: int) -> list[tuple[str, int, float]]:
    """Decode each `size`-th block of the files into one reused buffer; returns (layer, block, CPU seconds) of each."""
    timings = []
    turn = 0
    for file in files:
        source = gdal.OpenEx(file["path"], gdal.OF_RASTER, allowed_drivers=["JP2OpenJPEG"])
        band = source.GetRasterBand(1)
        kind = np.uint8 if band.DataType == gdal.GDT_Byte else np.uint16
        windows = file["windows"]
        largest = max(rows * columns for _, _, _, rows, columns in windows)
        buffer = np.empty(largest, kind)
        for index, row, column, rows, columns in windows:
            turn += 1
            if turn % size == rank:
                start = time.thread_time()
                out = buffer[: rows * columns].reshape(rows, columns)
                band.ReadAsArray(column, row, columns, rows, buf_obj=out)
                timings.append((file["layer"], index, time.thread_time() - start))
    return timings


def read_patches(folders: Sequence[str]) -> None:
    """Read the twelve GeoTIFFs of each folder into reused buffers."""
    buffers: dict[str, npt.NDArray[np.uint16]] = {
        band: np.empty((side, side), np.uint16) for band, side in _PATCH.items()
    }
    for folder in folders:
        stem = f"{folder}/{folder.rsplit('/', 1)[-1]}_"
        for band, out in buffers.items():
            file = gdal.OpenEx(f"{stem}{band}.tif", gdal.OF_RASTER, allowed_drivers=["GTiff"])
            file.GetRasterBand(1).ReadAsArray(buf_obj=out)
