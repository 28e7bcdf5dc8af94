"""Read and write raster files through GDAL; the only module that imports `osgeo`.

Reading decodes straight into the caller's array; only samples and tests are written. GDAL's errors become exceptions
with its last message.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from osgeo import gdal, osr

from etl.grid import PixelWindow

__all__ = ["Georeference", "RasterError", "RasterFile", "configure", "utm_wkt", "write_geotiff", "write_jp2"]

gdal.UseExceptions()

_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no listing of the folder, no search for side-car files
    "GDAL_PAM_ENABLED": "NO",
    "GTIFF_VIRTUAL_MEM_IO": "NO",
    "GDAL_CACHEMAX": "16",  # MiB; each block is read once, so a cache would only take memory
}


class RasterError(Exception):
    """A raster file cannot be read or is not what it should be; the message names the file."""


@dataclass(frozen=True, slots=True)
class Georeference:
    """Position and pixel size of a north-up raster."""

    epsg: int
    """EPSG code of the projection."""

    ulx: float
    """Easting of the upper left corner in m."""

    uly: float
    """Northing of the upper left corner in m."""

    gsd_m: int
    """Pixel side in m."""


def configure(threads: int = 1) -> None:
    """Set GDAL's options for fast reading, unless the environment sets them; `threads` decode one file's pixels."""
    for key, value in {**_OPTIONS, "GDAL_NUM_THREADS": str(threads)}.items():
        if gdal.GetConfigOption(key) is None:
            gdal.SetConfigOption(key, value)
    if threads == 1:  # in the calling thread: OpenJPEG's one thread would do all the work while the caller waits
        os.environ.setdefault("OPJ_NUM_THREADS", "0")


class RasterFile:
    """One band of an open raster file.

    Raises:
        RasterError: the file is absent, or GDAL cannot read it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        try:
            self._file = gdal.Open(self.path)
            self._band = self._file.GetRasterBand(1)
        except RuntimeError as error:
            raise RasterError(f"{self.path} cannot be opened: {_first_line(error)}") from None
        self.shape = (self._band.YSize, self._band.XSize)
        """(rows, columns)."""
        columns, rows = self._band.GetBlockSize()
        self.block = (rows, columns)
        """(rows, columns) of one block; blocks at the lower and right border may be cut."""
        self.dtype = gdal.GetDataTypeName(self._band.DataType)
        """GDAL's name of the pixel type, e.g. UInt16."""

    @property
    def georeference(self) -> Georeference | None:
        """Position and pixel size in metres from the file; None if it has none or is not north-up and square."""
        ulx, width, rotation, uly, rotation2, height = self._file.GetGeoTransform()
        reference = self._file.GetSpatialRef()
        code = reference.GetAuthorityCode(None) if reference is not None else None
        if code is None or rotation or rotation2 or width != -height or width != int(width):
            return None
        return Georeference(int(code), ulx, uly, int(width))

    def read(self, window: PixelWindow, out: npt.NDArray[np.generic]) -> None:
        """Decode the pixels of a window into `out`, shape (row, col), of any strides.

        Raises:
            RasterError: the file is broken there.
        """
        row, column, rows, columns = window  # GDAL takes columns first
        try:
            decoded = self._band.ReadAsArray(column, row, columns, rows, buf_obj=out)
        except RuntimeError as error:
            raise RasterError(f"{self.path} is broken at row {row}, column {column}: {_first_line(error)}") from None
        if decoded is None:  # some drivers report an error this way
            raise RasterError(f"{self.path} is broken at row {row}, column {column}")


def write_jp2(path: Path, pixels: npt.NDArray[np.generic], georeference: Georeference, block: int) -> None:
    """Write `pixels`, shape (row, col), uint16 or uint8, as lossless JPEG 2000 with square tiles of `block` pixels."""
    options = ["QUALITY=100", "REVERSIBLE=YES", f"BLOCKXSIZE={block}", f"BLOCKYSIZE={block}", "YCBCR420=NO"]
    _write(path, pixels, georeference, "JP2OpenJPEG", options)


def write_geotiff(path: Path, pixels: npt.NDArray[np.generic], georeference: Georeference) -> None:
    """Write `pixels`, shape (row, col), as an uncompressed one-band GeoTIFF, as in BigEarthNet."""
    _write(path, pixels, georeference, "GTiff", [])


def utm_wkt(epsg: int) -> str:
    """Well-known text of a UTM zone of WGS 84 (EPSG 326zz or 327zz), units metres, as in BigEarthNet's labels."""
    text = _reference(epsg).ExportToWkt(["FORMAT=WKT1_GDAL"])
    # GDAL 2, which wrote those labels, also named the axes of the geographic system
    code = ',AUTHORITY["EPSG","4326"]]'
    return str(text.replace(code, f',AXIS["Latitude",NORTH],AXIS["Longitude",EAST]{code}'))


def _write(
    path: Path, pixels: npt.NDArray[np.generic], georeference: Georeference, driver: str, options: list[str]
) -> None:
    kind = {"uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16}[pixels.dtype.name]
    # JP2OpenJPEG can only copy a finished raster, so both formats are written that way
    memory = gdal.GetDriverByName("MEM").Create("", pixels.shape[1], pixels.shape[0], 1, kind)
    gsd_m = georeference.gsd_m
    memory.SetGeoTransform((georeference.ulx, gsd_m, 0.0, georeference.uly, 0.0, -gsd_m))
    memory.SetProjection(_reference(georeference.epsg).ExportToWkt())
    memory.GetRasterBand(1).WriteArray(pixels)
    gdal.GetDriverByName(driver).CreateCopy(str(path), memory, options=options).FlushCache()


def _reference(epsg: int) -> osr.SpatialReference:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    return reference


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
