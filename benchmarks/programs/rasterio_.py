"""`python -m benchmarks.programs.rasterio_ JOB.json ANSWER.json`: read a patch folder by rasterio, as torchgeo does.

Each GeoTIFF of a patch is opened, read and resampled bilinearly to 120 x 120 pixels by GDAL; then all are stacked. Runs
in the virtual environment of rasterio, which also has numpy.

Source: torchgeo's `BigEarthNet` (Stewart et al. 2022, arXiv 2111.08872), without its conversion to tensors.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling

from benchmarks.machine import Moment, others_share

__all__ = ["main"]

_SIDE_PX = 120


def _read(folder: Path) -> npt.NDArray[np.uint16]:
    """All bands of a patch, shape (band, row, col)."""
    bands = []
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as file:
            bands.append(file.read(1, out_shape=(_SIDE_PX, _SIDE_PX), resampling=Resampling.bilinear))
    return np.stack(bands)


def main() -> None:
    """Time reading each folder once."""
    folders = [Path(folder) for folder in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["folders"]]
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO", GDAL_NUM_THREADS="1"):
        _read(folders[0])
        before, cpu_s, start = Moment.now(), time.process_time(), time.perf_counter()
        for folder in folders:
            _read(folder)
        seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_s
    answer = {"seconds": seconds, "cpu_s": cpu_s, "others_share": others_share(before, Moment.now(), cpu_s)}
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
