"""Maps of patch squares: GeoPackage with a layer for each projection, GeoParquet in degrees.

Import it when such a map is asked for: geopandas is an optional package.
"""

import logging
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path

import geopandas
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from etl.bands import PATCH_M
from trainer.maps.places import Places
from trainer.maps.table import Columns

__all__ = ["write_geopackage", "write_geoparquet"]

_DEGREES = 4326
"""EPSG code of longitude and latitude, WGS 84."""

_GEOPACKAGE = "1.2"
"""Version of GeoPackage: of the newer ones GDAL before 3.7 warns."""

_HALF_TURN = 180.0

logging.getLogger("pyogrio").setLevel(logging.WARNING)  # it reports each layer


def write_geopackage(path: Path, places: Places, columns: Columns, labels: list[list[str]]) -> None:
    """Write the squares in metres: one layer for each EPSG code, named like epsg_32633, in order of code.

    `labels` become one text for each patch, with semicolons between names. A process of its own writes: TensorFlow
    puts its SQLite in place of GDAL's in all of this one, and lacks the spatial index.

    Raises:
        OSError: the file cannot be written.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            pool.submit(_write_layers, path, places, columns, labels).result()
        except BrokenProcessPool as error:
            raise OSError(f"{path} cannot be written: {error}") from None


def _write_layers(path: Path, places: Places, columns: Columns, labels: list[list[str]]) -> None:
    """What `write_geopackage` does, in a process without TensorFlow."""
    table = pd.DataFrame({**columns, "labels": ["; ".join(names) for names in labels]})
    for code in np.unique(places.epsg).tolist():
        here = places.epsg == code
        frame = geopandas.GeoDataFrame(table[here], geometry=_squares(places)[here], crs=code)
        layer = f"epsg_{code}"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The filename extension should|File .* has GPKG", RuntimeWarning)  # .part
            try:
                frame.to_file(path, layer=layer, driver="GPKG", engine="pyogrio", index=False, VERSION=_GEOPACKAGE)
                # GDAL does not tell that a disk became full while it made the spatial index
                written = pyogrio.read_info(path, layer)
            except (DataLayerError, DataSourceError) as error:
                raise OSError(f"{path} cannot be written: {error}") from None
        if written["features"] != len(frame) or not written["capabilities"]["fast_spatial_filter"]:
            raise OSError(f"{path} cannot be written: layer {layer} does not hold what was written; is the disk full?")


def write_geoparquet(path: Path, places: Places, columns: Columns, labels: list[list[str]]) -> None:
    """Write the squares in degrees, EPSG:4326, in the order of the rows; `labels` are lists of text."""
    squares, geometry = _squares(places), np.empty(len(places.epsg), object)
    for code in np.unique(places.epsg).tolist():
        here = places.epsg == code
        geometry[here] = geopandas.GeoSeries(squares[here], crs=code).to_crs(_DEGREES).to_numpy()
    west, _, east, _ = shapely.bounds(geometry).T
    across = east - west > _HALF_TURN
    geometry[across] = [_cut(polygon) for polygon in geometry[across]]
    frame = geopandas.GeoDataFrame(pd.DataFrame({**columns, "labels": labels}), geometry=geometry, crs=_DEGREES)
    frame.to_parquet(path, index=False, compression="zstd", write_covering_bbox=True, schema_version="1.1.0")


def _squares(places: Places) -> npt.NDArray[np.object_]:
    """The square of each patch in metres of its projection, as a polygon, shape (row,)."""
    squares = shapely.box(places.ulx, places.uly - PATCH_M, places.ulx + PATCH_M, places.uly)
    return np.asarray(squares, object)


def _cut(polygon: shapely.Polygon) -> shapely.Geometry:
    """A polygon across the 180th meridian as two, one on each side."""
    turned = shapely.transform(polygon, lambda points: points + [360, 0] * (points[:, :1] < 0))
    west = turned.intersection(shapely.box(0, -90, _HALF_TURN, 90))
    east = turned.intersection(shapely.box(_HALF_TURN, -90, 2 * _HALF_TURN, 90))
    return shapely.MultiPolygon([west, shapely.transform(east, lambda points: points - [360, 0])])
