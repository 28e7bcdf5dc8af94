"""Maps as GeoTIFF: one image a tile, one band of probabilities a class.

Import it when such a map is asked for: rasterio is an optional package.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioIOError

from etl.files import replace_atomically
from trainer.maps.places import CellGrid

__all__ = ["image_path", "write_image"]


def image_path(out: Path, grid: CellGrid) -> Path:
    """The file of a grid: map.33UUP.tif for map.tif and tile 33UUP."""
    return out.with_suffix(f".{grid.name}{out.suffix}")


def write_image(
    path: Path,
    grid: CellGrid,
    probabilities: npt.NDArray[np.float32],
    classes: Sequence[str],
    thresholds: npt.NDArray[np.float32],
) -> None:
    """Write the cells of a grid as a GeoTIFF of float32; nodata, where there is no prediction, is NaN.

    `probabilities`, (prediction, class), 0 to 1: `grid.index` tells which are of this grid. Bands are described by the
    names of `classes`; the tag `threshold` of each is that of `thresholds`, (class,).

    Raises:
        OSError: the file cannot be written.
    """
    predicted = grid.index >= 0
    cells = np.full((len(classes), *grid.index.shape), np.nan, np.float32)
    cells[:, predicted] = probabilities[grid.index[predicted]].T
    profile = {"driver": "GTiff", "dtype": "float32", "nodata": np.nan, "compress": "deflate", "predictor": 3}
    profile |= {"count": len(classes), "height": cells.shape[1], "width": cells.shape[2], "interleave": "band"}
    transform = rasterio.Affine(grid.cell_m, 0, grid.ulx, 0, -grid.cell_m, grid.uly)
    place = {"crs": f"EPSG:{grid.epsg}", "transform": transform}
    with replace_atomically(path) as part:
        try:
            with rasterio.open(part, "w", **profile, **place) as file:
                file.write(cells)
                for band, (name, threshold) in enumerate(zip(classes, thresholds.tolist(), strict=True), 1):
                    file.set_band_description(band, name)
                    file.update_tags(band, threshold=f"{threshold:.6g}")
            with rasterio.open(part) as file:  # GDAL does not tell that a disk became full while it closed a file
                whole = file.descriptions == tuple(classes) and np.array_equal(file.read(), cells, equal_nan=True)
        except RasterioIOError as error:
            raise OSError(f"{path} cannot be written: {error.__cause__ or error}") from None
        if not whole:
            raise OSError(f"{path} cannot be written: it does not hold what was written; is the disk full?")
