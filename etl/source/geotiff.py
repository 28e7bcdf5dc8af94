"""Read plain GeoTIFFs: one band, not compressed, as patch archives hold them.

A patch has twelve files of 1 to 29 KB. GDAL takes ten times as long to work out the projection of one as to read its
pixels, so this module reads the tags itself, and asks GDAL once for each set of GeoKeys. Whatever is not plain is left
to GDAL.

Source: TIFF Revision 6.0, Adobe 1992; OGC GeoTIFF Standard 1.1 (19-008r4).
"""

import os
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.files import close_synced
from etl.raster import Georeference, RasterError, RasterFile

__all__ = ["PlainGeoTiffs"]

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _FILL_ORDER, _ORIENTATION = 256, 257, 258, 259, 266, 274
_STRIP_OFFSETS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _SAMPLE_FORMAT = 273, 277, 278, 279, 339
_PIXEL_SCALE, _TIE_POINT, _GEO_KEYS, _GEO_DOUBLES, _GEO_TEXT = 33550, 33922, 34735, 34736, 34737
_GDAL_NODATA = 42113

_ONES = (_COMPRESSION, _FILL_ORDER, _ORIENTATION, _SAMPLES)
"""Tags that are 1, or absent, in a file of one band, row by row from the top, not compressed."""

_SAMPLE_FORMATS = {"u": 1, "f": 3}
"""Value of the tag of the sample format by kind of dtype; where the tag is absent, it is 1."""

_HEADER_BYTES = 8192
"""Most bytes of a plain file beside its pixels."""

_MOST_BYTES = 65_536
"""Most bytes that are read of other files: some programs write the tags behind the pixels."""

_MOST_PROJECTIONS = 1000
"""Most sets of GeoKeys that are remembered: an archive has a few, and one made to fill memory any number."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""How a file is opened: a link is not followed, and a FIFO does not wait."""

_NOT_UNDERSTOOD = (OSError, LookupError, ValueError, OverflowError, struct.error, RasterError)

_SHORT, _LONG = 3, 4
"""Types of fields that hold whole numbers."""

_BYTES = {2: 1, _SHORT: 2, _LONG: 4, 12: 8}
"""Bytes of a value of the field types text, short, long and double."""

Field = tuple[int, int, int]
"""Field type, count, and value or offset of a tag."""

Tags = dict[int, Field]

Pixels = npt.NDArray[np.uint16] | npt.NDArray[np.float32]


class PlainGeoTiffs:
    """Reads plain GeoTIFFs of one byte order, little endian, and remembers the projections that it has met."""

    def __init__(self) -> None:
        self._epsg: dict[bytes, int | None] = {}  # by GeoKeys; None if only GDAL understands such files

    def read(self, path: str, out: Pixels, place: Georeference | None, folder: int | None = None) -> bool:
        """Read the pixels of a plain file into `out`, shape (row, col), if it is of this shape, type and place.

        `place` is not compared if None; `folder`: descriptor of the folder of the file, if that is open. Returns False
        for any other file, absent and broken ones and links too; `out` is then as before.
        """
        try:
            data = _read_bytes(path, out.nbytes + _HEADER_BYTES, folder)
        except OSError:
            return False
        return self.read_content(path, data, out, place)

    def read_content(
        self, path: str, data: bytes, out: Pixels, place: Georeference | None, whole: bool = False
    ) -> bool:
        """As `read`, of a file whose first bytes are `data`; `whole`: all bytes, and there is no file at `path`."""
        try:
            tags = _tags(data)
            pixels = _pixels(data, tags, out)
            if pixels is None or (place is not None and not self._has_place(path, data, tags, place, whole)):
                return False
        except _NOT_UNDERSTOOD:
            return False
        out[...] = pixels
        return True

    def lies_at(self, path: str, place: Georeference, content: bytes | None = None) -> bool:
        """Whether the tags of a file, which may be compressed or tiled, put it exactly at `place`.

        `content`: its bytes, if there is no file at `path`. Returns False for files whose tags are not among the first
        bytes, or that only GDAL understands.
        """
        try:
            data = _read_bytes(path, _MOST_BYTES) if content is None else content
            return self._has_place(path, data, _tags(data), place, content is not None)
        except _NOT_UNDERSTOOD:
            return False

    def _has_place(self, path: str, data: bytes, tags: Tags, place: Georeference, whole: bool) -> bool:
        """Whether the `tags` of a file put it exactly at `place`."""
        column, row, _, ulx, uly, _ = tie = struct.unpack("<6d", _raw(data, tags[_TIE_POINT]))
        width, height, _ = struct.unpack("<3d", _raw(data, tags[_PIXEL_SCALE]))
        if column or row or (ulx, uly) != (place.ulx, place.uly) or not width == height == place.gsd_m:
            return False
        keys = b"".join(_raw(data, tags[tag]) for tag in (_GEO_KEYS, _GEO_DOUBLES, _GEO_TEXT) if tag in tags)
        if keys not in self._epsg:
            if len(self._epsg) >= _MOST_PROJECTIONS:
                self._epsg.clear()
            found = RasterFile(path, content=data if whole else None).georeference
            understood = found is not None and (found.ulx, found.uly, found.gsd_m) == (tie[3], tie[4], width)
            self._epsg[keys] = found.epsg if found is not None and understood else None
        return self._epsg[keys] == place.epsg


def _read_bytes(path: str, most: int, folder: int | None = None) -> bytes:
    """The first `most` bytes of a file; of one that has no places, such as a FIFO, an OSError."""
    # by its name in the open folder, which spares the system the way along the path
    file = os.open(path if folder is None else path.rpartition("/")[2], _FLAGS, dir_fd=folder)
    try:
        data = os.pread(file, most, 0)
        while len(data) < most and (more := os.pread(file, most - len(data), len(data))):  # a call can read a part
            data += more
        return data
    finally:
        close_synced(file)


def _tags(data: bytes) -> Tags:
    """Tags of the first image of a little-endian TIFF file.

    Raises:
        struct.error: the file is none, or its tags are not in `data`.
    """
    magic, first = struct.unpack_from("<4sI", data)
    if magic != b"II*\0":
        raise struct.error("no little-endian TIFF file")
    (count,) = struct.unpack_from("<H", data, first)
    fields = struct.unpack_from("<" + count * "HHII", data, first + 2)
    return dict(zip(fields[::4], zip(fields[1::4], fields[2::4], fields[3::4], strict=True), strict=True))


def _pixels(data: bytes, tags: Tags, like: Pixels) -> npt.NDArray[Any] | None:
    """The pixels of a plain file, of shape and type of `like`; None if it is of others or not plain."""
    rows, columns = like.shape
    expected = ((_HEIGHT, rows), (_WIDTH, columns), (_BITS, 8 * like.itemsize))
    if any(_numbers(data, tags[tag]) != (value,) for tag, value in expected):
        return None
    if _COMPRESSION not in tags or any(_numbers(data, tags[tag]) != (1,) for tag in _ONES if tag in tags):
        return None
    (sample_format,) = _numbers(data, tags[_SAMPLE_FORMAT]) if _SAMPLE_FORMAT in tags else (1,)
    if sample_format != _SAMPLE_FORMATS[like.dtype.kind] or (like.dtype.kind == "f" and _GDAL_NODATA in tags):
        return None
    (strip_rows,) = _numbers(data, tags[_STRIP_ROWS])
    offsets, sizes = (_numbers(data, tags[tag]) for tag in (_STRIP_OFFSETS, _STRIP_BYTES))
    strip_bytes, stop = strip_rows * like[0].nbytes, offsets[0] + like.nbytes
    # strips that follow each other are one piece, which np.frombuffer refuses if the file is cut
    if offsets != tuple(range(offsets[0], stop, strip_bytes)) or sizes[:-1] != (strip_bytes,) * (len(sizes) - 1):
        return None
    if len(sizes) != len(offsets) or offsets[-1] + sizes[-1] != stop:
        return None
    return np.frombuffer(data, like.dtype.newbyteorder("<"), like.size, offsets[0]).reshape(like.shape)


def _numbers(data: bytes, field: Field) -> tuple[int, ...]:
    """The values of a field of whole numbers."""
    kind, count, value = field
    letter = {_SHORT: "H", _LONG: "I"}[kind]
    if count == 1:
        return (value & 0xFFFF if kind == _SHORT else value,)
    return struct.unpack(f"<{count}{letter}", _raw(data, field))


def _raw(data: bytes, field: Field) -> bytes:
    """The bytes of a field's values; up to four stand in place of the offset."""
    kind, count, value = field
    size = count * _BYTES[kind]
    return data[value : value + size] if size > 4 else struct.pack("<I", value)[:size]
