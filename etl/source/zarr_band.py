"""One band of a product in EOPF's Zarr format: read a window without decoding whole chunks.

A chunk of such a product can be a whole tile, 60 MB. Its usual codec, Blosc, compresses pieces of some rows, so a strip
of rows is decoded from its own pieces alone, each about once. A chunk in Zstandard is decoded whole. zarr reads the
metadata alone.
"""

import json
from collections.abc import Callable
from itertools import product as pairs_of
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from etl.eopf import ArrayDocument, read_array
from etl.grid import PixelWindow
from etl.input_files import fault_text, shortened
from etl.placement import Georeference, georeference_of, place_mismatch
from etl.product_files import ProductError, ProductFiles
from etl.raster import RasterError
from etl.raster_limits import oversize
from etl.source.blosc_frame import BloscFrame, read_blosc_frame

if TYPE_CHECKING:
    import zarr

    from etl.bucket_files import RemoteFile
    from etl.packed_files import RangeFile

__all__ = ["ZarrBand"]

T = TypeVar("T")

_MOST_STRIP_ROWS = 640
"""Most rows of a strip: fewer would decode more pieces twice, more would take more memory."""

_MOST_CHUNKS = 4096
"""Most chunks of a band: real ones have 1 to 4."""

_KNOWN_CODECS = {
    ".zarray": {"blosc", "zstd", "order C"},
    "zarr.json": {"bytes", "blosc", "zstd"},
}
"""What is read here of Zarr format 2 and 3. A product must not choose other code: one of numcodecs runs any."""

_MOST_OPEN = 4
"""Most chunks of a band that are open at once: those around a corner."""

_DECODE_COST = 0.04
"""Measured for Blosc with zstd, the codec of published products."""

_GDAL_TYPES = {"uint8": "Byte", "uint16": "UInt16"}
"""GDAL's name of a pixel type."""


class ZarrBand:
    """One band of a product, an array of two axes, with the same methods as `etl.raster.RasterFile`.

    Raises:
        RasterError: the array is absent, zarr cannot read its metadata, or it claims to be larger than any real one.
    """

    def __init__(self, files: ProductFiles, name: str) -> None:
        """Args: the files of the product; path of the array within it."""
        self.path = files.gdal_path(name)
        """Path of the array, for messages."""
        self._files, self._name = files, name
        self._document = self._opening(lambda: _document(files, name))
        self._array = self._opening(lambda: _zarr_array(self._document))
        if self._array.ndim != 2:
            raise RasterError(f"{self.path} must have two axes, got {self._array.ndim}")
        rows, columns = self._array.shape
        self.shape = (rows, columns)
        """(rows, columns)."""
        self.dtype = _GDAL_TYPES.get(self._array.dtype.name, self._array.dtype.name)
        """GDAL's name of the pixel type, e.g. UInt16, or else NumPy's."""
        height, width = self._array.chunks
        self._chunk = (height, width)
        if min(self._chunk) < 1:
            raise RasterError(f"{self.path} must have chunks of at least one pixel, got {height} x {width}")
        if -(-rows // height) * -(-columns // width) > _MOST_CHUNKS:
            raise RasterError(f"{self.path} must have at most {_MOST_CHUNKS} chunks, got chunks of {height} x {width}")
        if left_out := [text for path, text in files.refused.items() if f"/{name}/" in f"/{path}/"]:
            raise RasterError(f"{self.path} cannot be read as a whole: a file of it {left_out[0]}")
        names = {type(codec).__name__.removesuffix("Codec").lower() for codec in self._array.compressors}
        self._codec = min(names, default="")
        self.block = self._chunk if self._codec == "zstd" else (_strip_rows(height), width)
        """(rows, columns) of what is decoded at once; at the lower and right border it may be cut."""
        if problem := oversize(self.shape, self._chunk, 1, self._array.dtype.itemsize):
            raise RasterError(f"{self.path} {problem}")
        self.decode_cost = _DECODE_COST
        """Time to decode a pixel, relative to one of lossless JPEG 2000."""
        self._opened: dict[tuple[int, int], tuple[RangeFile | RemoteFile, BloscFrame]] = {}

    def _opening(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except ConnectionError:
            raise
        except Exception as error:  # zarr raises of many kinds
            raise RasterError(f"{self.path} cannot be opened: {fault_text(error)}") from None

    @property
    def is_placed(self) -> bool:
        """Whether the array itself says where it lies: by transform and projection."""
        return self._document.transform is not None and bool(self._document.projection)

    @property
    def georeference(self) -> Georeference | None:
        """Position and pixel size in metres from the attributes; None if they give none, or not north-up and square."""
        return georeference_of(self._document.transform, self._document.projection)

    @property
    def absent_chunks(self) -> int:
        """Number of chunks that have no file. Zarr's writers leave out those that hold no data."""
        numbers = (range(-(-side // part)) for side, part in zip(self.shape, self._chunk, strict=True))
        return sum(self._key(*at) not in self._files.names for at in pairs_of(*numbers))

    def mismatch(self, shape: tuple[int, int], dtype: str, expected: Georeference | None) -> str:
        """How the array differs from what it must be, as "must be ..., got ..."; empty if it does not.

        Arguments as of `etl.raster.RasterFile.mismatch`.
        """
        if self.shape != shape or self.dtype != dtype:
            return (
                f"must be {shape[0]} x {shape[1]} pixels of {dtype}, "
                f"got {self.shape[0]} x {self.shape[1]} of {self.dtype}"
            )
        if self._array.fill_value not in (0, None):
            return f"must have the fill value 0, got {self._array.fill_value}"
        if expected is None:
            return ""
        return place_mismatch(self._document.transform, self._document.projection, expected, shape)

    def read(self, window: PixelWindow, out: npt.NDArray[Any]) -> None:
        """Decode a window into `out`, shape (row, col), of any strides.

        Raises:
            RasterError: the file of a chunk is broken there.
        """
        (height, width), inside = self._chunk, PixelWindow(0, 0, *self.shape).intersection(window)
        rows = range(inside.row // height, (inside.row + inside.height - 1) // height + 1)
        columns = range(inside.col // width, (inside.col + inside.width - 1) // width + 1)
        for at in pairs_of(rows, columns):
            chunk = PixelWindow(at[0] * height, at[1] * width, height, width)
            part = inside.intersection(chunk)
            target = out[part.slices_in(window)]
            try:
                self._read_part(at, part._replace(row=part.row - chunk.row, col=part.col - chunk.col), target)
            except ConnectionError:
                raise
            except Exception as error:  # numcodecs and zarr raise of many kinds
                raise RasterError(
                    f"{self.path} is broken at row {part.row}, column {part.col}: {fault_text(error)}"
                ) from None

    def _read_part(self, at: tuple[int, int], part: PixelWindow, out: npt.NDArray[Any]) -> None:
        """Decode a window of the chunk `at` (row, column), counted from the chunk's corner."""
        key = self._key(*at)
        if key not in self._files.names:
            out[...] = 0
            return
        width = self._chunk[1] * self._array.dtype.itemsize
        data = self._rows_of(at, key, part.row * width, (part.row + part.height) * width)
        rows = np.frombuffer(data, self._array.dtype).reshape(part.height, self._chunk[1])
        out[...] = rows[:, part.col : part.col + part.width]

    def _rows_of(self, at: tuple[int, int], key: str, first: int, stop: int) -> bytes | memoryview:
        """Bytes [first, stop) of the decoded chunk in the file `key`."""
        size = self._chunk[0] * self._chunk[1] * self._array.dtype.itemsize
        if self._codec == "blosc":
            file, frame = self._open(at, key, size)
            return frame.read(file.read, first, stop)
        file = self._files.open_ranges(key)
        if self._codec == "":
            data = file.read(first, stop - first)
            if file.size_bytes != size or len(data) != stop - first:
                raise ValueError(f"it must have {size} bytes, got {file.size_bytes}")
            return data
        return memoryview(_decode_zstd(file.read(0, file.size_bytes), size))[first:stop]

    def _key(self, row: int, column: int) -> str:
        """Name of the file of a chunk within the product."""
        return f"{self._name}/{self._array.metadata.encode_chunk_key((row, column))}"

    def _open(self, at: tuple[int, int], key: str, size: int) -> "tuple[RangeFile | RemoteFile, BloscFrame]":
        """File and places of the pieces of a chunk."""
        if at not in self._opened:
            while len(self._opened) >= _MOST_OPEN:
                del self._opened[next(iter(self._opened))]
            file = self._files.open_ranges(key)
            self._opened[at] = file, read_blosc_frame(file.read, size)
        return self._opened[at]


def _document(files: ProductFiles, name: str) -> ArrayDocument:
    document = read_array(files, name)
    if document is None:
        raise ProductError(f"it is missing{files.hint}")
    return document


def _zarr_array(document: ArrayDocument) -> "zarr.Array[Any]":
    """The array without its chunks, its metadata in memory: zarr opens no file, and decodes nothing.

    Raises:
        ValueError: its codecs are not those that are read here; nothing else is asked to find them.
    """
    import zarr
    from zarr.buffer.cpu import Buffer
    from zarr.storage import MemoryStore

    (name, content), *_ = document.files.items()
    if other := sorted(set(_codec_names(content)) - _KNOWN_CODECS[name]):
        needed = "it must hold pixels row by row, compressed by Blosc, Zstandard or not at all"
        raise ValueError(f"{needed}, got {shortened(other[0], 40)}")
    store = MemoryStore({name: Buffer.from_bytes(json.dumps(content).encode())}, read_only=True)
    return zarr.open_array(store, mode="r")


def _codec_names(metadata: Any) -> list[str]:
    """Names of all that the metadata of an array say about its codecs, order of axes and bytes included."""
    if metadata.get("zarr_format") == 3:
        names = [str(item.get("name")) for item in metadata["codecs"]]
        orders = [item.get("configuration", {}).get("endian", "little") for item in metadata["codecs"]]
        return [*names, *(f"{order}-endian pixels" for order in orders if order != "little")]
    codecs = [item for item in (metadata.get("compressor"), *(metadata.get("filters") or ())) if item]
    names = [str(item.get("id")) for item in codecs] + ["filters"] * bool(metadata.get("filters"))
    big = str(metadata.get("dtype")).startswith(">")
    return [*names, f"order {metadata.get('order', 'C')}", *["big-endian pixels"] * big]


def _decode_zstd(data: bytes, size: int) -> bytes:
    """The `size` bytes that a Zstandard frame holds.

    Raises:
        ValueError, RuntimeError: it holds another number of bytes, does not say how many, or is damaged.
    """
    from numcodecs import zstd

    if _zstd_size(data) != size:  # before memory is taken for as much as it claims
        raise ValueError(f"it must hold a Zstandard frame of {size} bytes, which says so")
    decoded: bytes = zstd.decompress(data)
    if len(decoded) != size:
        raise ValueError(f"it must decode to {size} bytes, got {len(decoded)}")
    return decoded


def _zstd_size(data: bytes) -> int | None:
    """Number of bytes that a Zstandard frame says it holds; None if it does not, or is none. Source: RFC 8878."""
    if data[:4] != b"\x28\xb5\x2f\xfd" or len(data) < 5:
        return None
    flag, single, dictionary = data[4] >> 6, data[4] >> 5 & 1, (0, 1, 2, 4)[data[4] & 3]
    at, width = 5 + (not single) + dictionary, (single, 2, 4, 8)[flag]
    value = int.from_bytes(data[at : at + width], "little")
    return (value + 256 if width == 2 else value) if width else None


def _strip_rows(height: int) -> int:
    """Rows of a strip of a chunk of `height` rows, which is divided as evenly as possible."""
    return -(-height // -(-height // _MOST_STRIP_ROWS))
