"""A file that HDF5 writes through Python, so that an error of the disk is raised instead of met inside HDF5.

HDF5 1.10 can crash if a write of its metadata fails: it gives up half-way through closing the file. Its driver for file
objects (h5py, `fileobj`) calls the methods of `SteadyFile`, which never fail while HDF5 writes. It takes no locks.
"""

import contextlib
import os
from pathlib import Path

from etl.files import pwrite_exact
from etl.store.byte_ranges import pread_exact

__all__ = ["SteadyFile"]


class SteadyFile:
    """An open file that keeps the first error of writing for `raise_error`; writes after it stay in memory."""

    def __init__(self, path: Path, create: bool = False) -> None:
        """Open the file to be read and written; with `create` it is made, or looks empty but keeps its space.

        Raises:
            OSError: it cannot be opened.
        """
        self._fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o666)
        self._path, self._position = path, 0
        self._size = 0 if create else os.fstat(self._fd).st_size
        self._error: OSError | None = None
        self._unwritten: list[tuple[int, bytes]] = []

    def raise_error(self) -> None:
        """Raise the first error of writing, if there was one.

        Raises:
            OSError: bytes that HDF5 takes for written are not on the disk.
        """
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror, str(self._path))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position to byte `offset`, with SEEK_END from the end of the file; returns it."""
        self._position = offset + (self._size if whence == os.SEEK_END else 0)
        return self._position

    def tell(self) -> int:
        """The position in bytes."""
        return self._position

    def readinto(self, out: memoryview) -> int:
        """Fill `out` from the position on, with 0 beyond the end of the file; returns the number of bytes.

        Raises:
            OSError: the disk cannot be read.
        """
        view, first = memoryview(out).cast("B"), self._position
        view[:] = bytes(len(view))
        pread_exact(self._fd, view, first)
        for start, data in self._unwritten:
            begin, end = max(start, first), min(start + len(data), first + len(view))
            if begin < end:
                view[begin - first : end - first] = data[begin - start : end - start]
        self._position += len(view)
        return len(view)

    def read(self, size: int) -> bytes:
        """`size` bytes from the position on, as `readinto` reads them."""
        data = bytearray(size)
        self.readinto(memoryview(data))
        return bytes(data)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Write all bytes at the position, or keep them in memory after an error; returns their number."""
        view = memoryview(data).cast("B")
        try:
            self.raise_error()
            pwrite_exact(self._fd, view, self._position)
        except OSError as error:
            self._error = self._error or error
            self._unwritten.append((self._position, bytes(view)))
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def truncate(self, size: int) -> int:
        """Set the size of the file in bytes, unless there was an error; returns it."""
        try:
            if self._error is None:
                os.ftruncate(self._fd, size)
        except OSError as error:
            self._error = error
        self._size = size
        return size

    def flush(self) -> None:
        """Nothing is buffered here."""

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: the first error of writing, which some file systems report only now.
        """
        with contextlib.suppress(OSError) if self._error else contextlib.nullcontext():
            os.close(self._fd)
        self.raise_error()
