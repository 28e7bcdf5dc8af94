"""One band of a product in a bucket, JPEG 2000: only the tiles that are read are fetched, neighbours together.

Where a file's tiles lie is found out at its first opening, and kept in the user's cache folder for all later runs.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from etl.aws import endpoint
from etl.bucket_files import RemoteFile
from etl.files import user_cache
from etl.grid import PixelWindow
from etl.input_files import FileStat, fault_text
from etl.placement import Georeference
from etl.raster import RasterError, RasterFile
from etl.source.jp2_parts import Jp2Parts, index_jp2

__all__ = ["RemoteImage"]

_EMPTY_PART = b"\xff\x90\0\x0a\0\0\0\0\0\x0e\0\1\xff\x93\xff\xd9"
"""A tile-part without data, and the end of the code stream: a decoder reads a header up to there."""

_MOST_RUN_BYTES = 4 << 20
"""Most bytes that are fetched together, and held until they are decoded."""


class RemoteImage:
    """One band of a product in a bucket, with the same methods as `etl.raster.RasterFile`.

    Raises:
        RasterError: the file is no JPEG 2000, or broken.
        ConnectionError: the server does not answer.
    """

    def __init__(self, file: RemoteFile, stat: FileStat) -> None:
        """Args: the file; what the listing says of it, to know what the cache holds of it."""
        self.path = str(file.path)
        """Path of the file, for messages."""
        self._file = file
        try:
            self._parts = _parts_of(file, stat)
            self._header = RasterFile(self.path, content=self._parts.head + _EMPTY_PART)
        except ConnectionError:
            raise
        except (ValueError, OSError) as error:
            raise RasterError(f"{self.path} cannot be opened: {fault_text(error)}") from None
        self.shape, self.block, self.dtype = self._header.shape, self._header.block, self._header.dtype
        self.decode_cost = self._header.decode_cost
        self._expected = dict[int, int]()
        """By tile-part: the end of the run of parts that are fetched with it."""
        self._kept, self._most_kept = dict[tuple[int, ...], RasterFile](), 0
        """Tiles that were read, the last one at the end."""
        self._held = dict[int, bytes]()
        """Tile-parts that were fetched, and not decoded yet."""

    @property
    def is_placed(self) -> bool:
        """Whether the file itself says where it lies: by transform and projection."""
        return self._header.is_placed

    @property
    def georeference(self) -> Georeference | None:
        """Position and pixel size in metres from the file; None if it has none or is not north-up and square."""
        return self._header.georeference

    def mismatch(self, shape: tuple[int, int], dtype: str, expected: Georeference | None) -> str:
        """How the file differs from what it must be; as `etl.raster.RasterFile.mismatch`."""
        return self._header.mismatch(shape, dtype, expected)

    def expect(self, windows: Sequence[PixelWindow]) -> None:
        """Say which windows will be read, in this order, so that parts which are neighbours are fetched together."""
        numbers = [number for window in windows for _, parts in self._parts.tiles_in(window) for number in parts]
        first, size = 0, 0
        for at, number in enumerate(numbers):
            size += int(self._parts.length[number])
            last = at + 1 == len(numbers)
            if last or numbers[at + 1] != number + 1 or size + self._parts.length[number + 1] > _MOST_RUN_BYTES:
                self._expected |= dict.fromkeys(range(numbers[first], number + 1), number + 1)
                first, size = at + 1, 0

    def keep(self, tiles: int) -> None:
        """Keep the tiles that were read last, compressed, for a reader that comes back to them."""
        self._most_kept = tiles

    def read(self, window: PixelWindow, out: npt.NDArray[Any]) -> None:
        """Decode a window into `out`, shape (row, col), of any strides.

        Raises:
            RasterError: the file is broken there.
            ConnectionError: the server does not answer.
        """
        for part, numbers in self._parts.tiles_in(window):
            tile = self._kept.pop(numbers, None) or self._fetch(numbers)
            tile.read(part, out[part.slices_in(window)])
            if self._most_kept:
                self._kept[numbers] = tile
                if len(self._kept) > self._most_kept:
                    del self._kept[next(iter(self._kept))]

    def _fetch(self, numbers: Sequence[int]) -> RasterFile:
        """An image that has pixels in one tile, whose parts have these numbers."""
        try:
            parts = [self._take(number) for number in numbers]
        except ConnectionError:
            raise
        except OSError as error:
            raise RasterError(f"{self.path} cannot be read: {fault_text(error)}") from None
        return RasterFile(self.path, content=self._parts.stream(b"".join(parts)))

    def _take(self, number: int) -> bytes:
        """A tile-part, which is no longer held then; it is fetched with those that follow it in its run."""
        if number not in self._held:
            run = range(number, self._expected.get(number, number + 1))
            begins, ends = self._parts.offset[run.start : run.stop], self._parts.length[run.start : run.stop].cumsum()
            begin, size = int(begins[0]), int(ends[-1])
            data = self._file.read(begin, size)
            if len(data) < size:
                raise OSError(f"it must have {begin + size} bytes, but ends at byte {begin + len(data)}")
            for part, offset, end in zip(run, begins.tolist(), ends.tolist(), strict=True):
                self._expected.pop(part, None)
                self._held[part] = data[offset - begin : end]
                if not self._parts.begins(part, self._held[part]):
                    raise OSError(f"a tile-part must begin at byte {offset}, with the number of its tile")
        return self._held.pop(number)


def _parts_of(file: RemoteFile, stat: FileStat) -> Jp2Parts:
    """Where the tiles of a file lie: from the cache, else from the file."""
    version = (endpoint(), file.path, stat.etag, stat.size_bytes, stat.changed_ns)
    name = hashlib.sha256("\0".join(map(str, version)).encode(errors="surrogateescape")).hexdigest()
    kept = user_cache("jp2-parts") / name[:2] / f"{name}.npz"
    parts = Jp2Parts.load(kept)
    if parts is None:
        parts = index_jp2(file.read, file.size_bytes)
        with contextlib.suppress(OSError):  # a cache that cannot be written: the next run asks again
            parts.save(kept)
    return parts
