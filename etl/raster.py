"""Read and write raster files through GDAL; the only module that imports `osgeo`.

Reading decodes straight into the caller's array; only samples and tests are written. GDAL's errors become exceptions
with its last message.

Files are opened in one place, by formats that cannot refer to other files: many of GDAL's drivers can, and read any
file or address that a file under the name of an image tells them to.
"""

import contextlib
import itertools
import logging
import os
import weakref
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from osgeo import gdal, osr

from etl.grid import PixelWindow
from etl.input_files import require_regular
from etl.placement import Georeference, georeference_of, place_mismatch
from etl.raster_limits import oversize, read_jp2_header

__all__ = [
    "Georeference",
    "RasterError",
    "RasterFile",
    "configure",
    "to_degrees",
    "utm_wkt",
    "write_geotiff",
    "write_jp2",
]

log = logging.getLogger(__name__)

gdal.UseExceptions()
# Whatever the environment says: files beside an image could name other files, and give it another place.
gdal.SetConfigOption("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")  # no listing of the folder, no search in it
gdal.SetConfigOption("GDAL_PAM_ENABLED", "NO")

T = TypeVar("T")

_OPTIONS = {
    "GTIFF_VIRTUAL_MEM_IO": "NO",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # else the rest of a truncated file is grey
    "GDAL_CACHEMAX": "16",  # MiB; each block is read once, so a cache would only take memory
}

_HARMLESS = (
    "Stream does not end with EOC",  # the end marker is missing, after the last block
    "Non conformant codestream TPsot==TNsot",  # OpenJPEG corrects the number of tile-parts
    "Empty SOT marker detected",  # a tile-part without data
)
"""How warnings of OpenJPEG begin that accompany right pixels; what else it says while decoding tells of damage."""

_BAND_DRIVERS = ["GTiff", "JP2OpenJPEG", "JP2KAK", "JP2ECW", "JP2MrSID", "JPEG2000", "JP2Lura"]
"""GDAL's names of the formats of bands and patches: GeoTIFF, and JPEG 2000 by whichever library there is."""

_IMAGE_DRIVERS = [*_BAND_DRIVERS, "PNG", "JPEG", "BMP"]
"""The same of image files. None of these formats can name another file."""

_OPEN_FLAGS = gdal.OF_RASTER | gdal.OF_VERBOSE_ERROR

_numbers = itertools.count()
"""Names of files in memory."""

_ZIP = "/vsizip/{"
"""How the path of a file in a zip file begins, which `etl.packed_files` makes."""


class RasterError(Exception):
    """A raster file cannot be read or is not what it should be; the message names the file."""


def configure(threads: int = 1) -> None:
    """Set GDAL's options for fast reading, unless the environment sets them; `threads` decode one file's pixels."""
    for key, value in {**_OPTIONS, "GDAL_NUM_THREADS": str(threads)}.items():
        if gdal.GetConfigOption(key) is None:
            gdal.SetConfigOption(key, value)
    if threads == 1:  # in the calling thread: OpenJPEG's one thread would do all the work while the caller waits
        os.environ.setdefault("OPJ_NUM_THREADS", "0")


class RasterFile:
    """One band of an open raster file.

    The file must be a regular one; a link is followed, so links of a source are to be resolved before.

    Raises:
        RasterError: the file is absent, GDAL cannot read it, or it claims to be larger than any real one.
    """

    def __init__(self, path: str | Path, any_message: bool = False, content: bytes | None = None) -> None:
        """Args: `any_message`: what GDAL says while decoding is an error in all formats, not only in JPEG 2000.

        `content`: bytes of a file in JPEG 2000 or GeoTIFF, to be read instead of the one at `path`, which only messages
        name.
        """
        self.path = str(path)
        if any_message:  # a message reaches the thread that decodes, so that must be the calling one
            gdal.SetThreadLocalConfigOption("GDAL_NUM_THREADS", "1")
        try:
            if content is None:
                self._file = _open(self.path, _IMAGE_DRIVERS if any_message else _BAND_DRIVERS)
            else:
                self._file = _open_content(self, content)
            self._band = self._file.GetRasterBand(1)
        except (OSError, ValueError) as error:
            raise RasterError(f"{self.path} cannot be opened: {_reason(error)}") from None
        except RuntimeError as error:
            raise RasterError(f"{self.path} cannot be opened: {_first_line(error)}") from None
        finally:
            if any_message:
                gdal.SetThreadLocalConfigOption("GDAL_NUM_THREADS", None)
        self.shape = (self._band.YSize, self._band.XSize)
        """(rows, columns)."""
        columns, rows = self._band.GetBlockSize()
        self.block = (rows, columns)
        """(rows, columns) of one block; blocks at the lower and right border may be cut."""
        self.decode_cost = 1.0
        """Time to decode a pixel, relative to one of lossless JPEG 2000."""
        self.dtype = gdal.GetDataTypeName(self._band.DataType)
        """GDAL's name of the pixel type, e.g. UInt16."""
        pixel_bytes = gdal.GetDataTypeSize(self._band.DataType) // 8
        if problem := oversize(self.shape, self.block, self._file.RasterCount, pixel_bytes):
            raise RasterError(f"{self.path} {problem}")
        self._collects = any_message or self._file.GetDriver().ShortName.startswith("JP2")
        self._warned: set[str] = set()

    @property
    def transform(self) -> tuple[float, ...] | None:
        """Affine transform from (column, row) to metres, GDAL's six numbers; None if the file has none.

        Raises:
            RasterError: the file is broken there.
        """
        transform = self._georeference_part(lambda: self._file.GetGeoTransform(can_return_null=True))
        return None if transform is None else tuple(transform)

    @property
    def projection(self) -> str:
        """The file's projection as EPSG:<code>, or its name if EPSG has none; empty if the file names none.

        Raises:
            RasterError: the file is broken there.
        """
        return self._georeference_part(lambda: _projection_name(self._file.GetProjection()))

    @property
    def georeference(self) -> Georeference | None:
        """Position and pixel size in metres from the file; None if it has none or is not north-up and square."""
        return georeference_of(self.transform, self.projection)

    @property
    def is_placed(self) -> bool:
        """Whether the file itself says where it lies: by transform and projection."""
        return self.transform is not None and bool(self.projection)

    @property
    def nodata_value(self) -> float | None:
        """Value of a pixel without data that the file states; None if it states none."""
        value = self._band.GetNoDataValue()
        return None if value is None else float(value)

    def _georeference_part(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except RuntimeError as error:
            raise RasterError(f"{self.path} has a broken georeference: {_first_line(error)}") from None

    def mismatch(self, shape: tuple[int, int], dtype: str, expected: Georeference | None) -> str:
        """How the file differs from what it must be, as "must be ..., got ..."; empty if it does not.

        `shape`: (rows, columns); `dtype`: GDAL's name; `expected`: not compared if None. Of a file that has no
        transform or no projection, only the other is compared.
        """
        if self._file.RasterCount != 1:
            return f"must have one band, got {self._file.RasterCount}"
        if self.shape != shape or self.dtype != dtype:
            return (
                f"must be {shape[0]} x {shape[1]} pixels of {dtype}, "
                f"got {self.shape[0]} x {self.shape[1]} of {self.dtype}"
            )
        return "" if expected is None else place_mismatch(self.transform, self.projection, expected, shape)

    def read(self, window: PixelWindow, out: npt.NDArray[np.generic]) -> None:
        """Decode a window into `out`, shape (row, col), of any strides; or of all bands, shape (band, row, col).

        Raises:
            RasterError: the file is broken there, or the decoder says so although it returns pixels.
        """
        row, column, rows, columns = window  # GDAL takes columns first
        messages: list[str] = []
        if self._collects:  # of a small uncompressed file, this would take a noticeable share of the time
            gdal.PushErrorHandler(partial(_collect, messages))
        try:
            source = self._band if len(out.shape) == 2 else self._file
            decoded = source.ReadAsArray(column, row, columns, rows, buf_obj=out)
        except RuntimeError as error:
            raise self._broken(window, messages[0] if messages else _first_line(error)) from None
        finally:
            if self._collects:
                gdal.PopErrorHandler()
        if decoded is None:  # some drivers report an error this way
            raise self._broken(window, messages[0] if messages else "it cannot be decoded")
        for text in messages:
            if not text.startswith(_HARMLESS):
                raise self._broken(window, text)
            if text not in self._warned:
                self._warned.add(text)
                log.warning("%s: %s", self.path, text)

    def _broken(self, window: PixelWindow, reason: str) -> RasterError:
        return RasterError(f"{self.path} is broken at row {window[0]}, column {window[1]}: {reason}")


def _open(path: str, drivers: list[str]) -> gdal.Dataset:
    """The only place that gives GDAL the name of a file; the name alone must not choose what is opened.

    Raises:
        OSError: there is no regular file of this name.
        ValueError: it claims to be larger than any real one.
        RuntimeError: it is in none of the formats, or broken.
    """
    if path.startswith(_ZIP):
        _check_zipped(path)
    elif path.startswith("/vsi"):
        raise ValueError("its path must not begin with /vsi, which GDAL takes for another file system")
    else:
        path = path if path.startswith("/") else f"./{path}"  # else a prefix such as GTIFF_DIR: would be obeyed
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without waiting for the writer of a FIFO
        try:
            status = os.fstat(fd)
            require_regular(path, status)
            read_jp2_header(lambda offset, size: os.pread(fd, size, offset), lambda: status.st_size)
        finally:
            os.close(fd)
    return gdal.OpenEx(os.fsencode(path), _OPEN_FLAGS, drivers)  # bytes: not every name of a file is UTF-8


def _open_content(owner: object, content: bytes) -> gdal.Dataset:
    """A file in JPEG 2000 or GeoTIFF of which all bytes are given; they are kept as long as `owner` lives.

    Raises:
        ValueError: it claims to be larger than any real one, or is neither.
        RuntimeError: it is broken.
    """
    is_tiff = content[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    if (
        not is_tiff
        and read_jp2_header(lambda offset, size: content[offset : offset + size], lambda: len(content)) is None
    ):
        raise ValueError("it must be JPEG 2000 or GeoTIFF")
    name = f"/vsimem/{next(_numbers)}.{'tif' if is_tiff else 'jp2'}"
    gdal.FileFromMemBuffer(name, content)
    weakref.finalize(owner, gdal.Unlink, name)
    return gdal.OpenEx(name, _OPEN_FLAGS, [driver for driver in _BAND_DRIVERS if (driver == "GTiff") == is_tiff])


def _check_zipped(path: str) -> None:
    """Check what a JPEG 2000 file in a zip file claims; nothing of other files.

    Raises:
        ValueError: its header is broken, or claims more than any real file has.
    """
    file = gdal.VSIFOpenL(os.fsencode(path), "rb")
    if file is None:
        return  # GDAL says why

    def read(offset: int, size: int) -> bytes:
        gdal.VSIFSeekL(file, offset, os.SEEK_SET)
        return bytes(gdal.VSIFReadL(1, size, file) or b"")

    try:
        read_jp2_header(read, lambda: int(gdal.VSIStatL(path).size))
    finally:
        gdal.VSIFCloseL(file)


def _reason(error: OSError | ValueError) -> str:
    """What an error says, without the path of the file."""
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)


def _collect(messages: list[str], level: int, _: int, text: str) -> None:
    """Append one of GDAL's warnings or errors, of the calling thread, to `messages`; debugging output is no fault."""
    if level >= gdal.CE_Warning:
        messages.append(text.strip())


@lru_cache
def _projection_name(wkt: str) -> str:
    """Name of a projection as of `RasterFile.projection`; cached, as parsing the text takes longer than most files."""
    if not wkt:
        return ""
    reference = osr.SpatialReference(wkt)
    if reference.GetAuthorityCode(None) is None:
        with contextlib.suppress(RuntimeError):  # it has no code
            reference.AutoIdentifyEPSG()
    code = reference.GetAuthorityCode(None)
    return str(reference.GetName() if code is None else f"{reference.GetAuthorityName(None)}:{code}")


def to_degrees(
    epsg: int, eastings: npt.NDArray[np.float64], northings: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Longitudes and latitudes on WGS 84, shape (..., 2), of points in metres of a projection, both of shape (...)."""
    target = _reference(4326)
    target.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    points = np.stack((eastings, northings), -1)
    degrees = osr.CoordinateTransformation(_reference(epsg), target).TransformPoints(points.reshape(-1, 2).tolist())
    return np.array(degrees, np.float64)[:, :2].reshape(points.shape)


def write_jp2(path: Path, pixels: npt.NDArray[np.generic], georeference: Georeference, block: int) -> None:
    """Write `pixels`, shape (row, col), uint16 or uint8, as lossless JPEG 2000 with square tiles of `block` pixels."""
    options = ["QUALITY=100", "REVERSIBLE=YES", f"BLOCKXSIZE={block}", f"BLOCKYSIZE={block}", "YCBCR420=NO"]
    _write(path, pixels, georeference, "JP2OpenJPEG", options)


def write_geotiff(
    path: Path, pixels: npt.NDArray[np.generic], georeference: Georeference | None, nodata: int | None = None
) -> None:
    """Write `pixels`, shape (row, col), or (band, row, col), as an uncompressed GeoTIFF, as in BigEarthNet.

    Three bands of uint8 are red, green and blue. `nodata`: value of a pixel without data, to be stated in the file.
    """
    options = ["PHOTOMETRIC=RGB"] if pixels.dtype == np.uint8 and len(pixels.shape) == 3 and len(pixels) == 3 else []
    _write(path, pixels, georeference, "GTiff", options, nodata)


def utm_wkt(epsg: int) -> str:
    """Well-known text of a UTM zone of WGS 84 (EPSG 326zz or 327zz), units metres, as in BigEarthNet's labels."""
    text = _reference(epsg).ExportToWkt(["FORMAT=WKT1_GDAL"])
    # GDAL 2, which wrote those labels, also named the axes of the geographic system
    code = ',AUTHORITY["EPSG","4326"]]'
    return str(text.replace(code, f',AXIS["Latitude",NORTH],AXIS["Longitude",EAST]{code}'))


def _write(
    path: Path,
    pixels: npt.NDArray[np.generic],
    georeference: Georeference | None,
    driver: str,
    options: list[str],
    nodata: int | None = None,
) -> None:
    kind = {"uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16, "float32": gdal.GDT_Float32}[pixels.dtype.name]
    # JP2OpenJPEG can only copy a finished raster, so both formats are written that way
    planes = pixels.reshape(-1, *pixels.shape[-2:])
    bands, rows, columns = planes.shape
    memory = gdal.GetDriverByName("MEM").Create("", columns, rows, bands, kind)
    if georeference is not None:
        gsd_m = georeference.gsd_m
        memory.SetGeoTransform((georeference.ulx, gsd_m, 0.0, georeference.uly, 0.0, -gsd_m))
        memory.SetProjection(_reference(georeference.epsg).ExportToWkt())
    memory.WriteArray(planes)
    if nodata is not None:
        for band in range(1, bands + 1):
            memory.GetRasterBand(band).SetNoDataValue(nodata)
    gdal.GetDriverByName(driver).CreateCopy(str(path), memory, options=options).FlushCache()


def _reference(epsg: int) -> osr.SpatialReference:
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    return reference


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0] or "GDAL does not say why"
