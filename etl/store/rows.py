"""Rows of a contiguous store, read by offset without HDF5, and their checksums."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xxhash

from etl.schema import DataSet, Schema

__all__ = ["RowReader", "blank_checksum", "checksum", "overwrite", "ranges_of", "schema_of"]


def checksum(parts: Sequence[npt.NDArray[np.uint16]]) -> int:
    """XXH3-64 over the bytes of one row's pixel arrays, each contiguous, in the order of `Schema.pixels`."""
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()


def ranges_of(rows: npt.NDArray[np.intp]) -> list[tuple[int, int]]:
    """Ascending rows as ranges [first, stop) of neighbours."""
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, edges)] if len(rows) else []


def schema_of(file: Any, where: object = "") -> Schema:
    """Schema of an open store: an h5py.File or a zarr.Group, which is at `where`.

    Raises:
        ValueError: the file is not one.
    """
    needed = ("data_10m", "data_20m", "data_60m", "classes", "patch", "product", "state")
    missing = [name for name in needed if name not in file]
    if missing:
        raise ValueError(f"{where or file.filename} must be a store of etl.extract; it has no {', '.join(missing)}")
    rows, classes = file["classes"].shape
    return Schema(rows, classes, "data_super" in file, file["patch"].dtype.itemsize, file["product"].dtype.itemsize)


class RowReader:
    """A store's pixel rows, read by `preadv` at the offsets that HDF5 gives."""

    def __init__(self, path: Path) -> None:
        """Open the store read-only.

        Raises:
            ValueError: the file is no store, or its rows are not contiguous.
        """
        with h5py.File(path, "r") as file:
            self.schema = schema_of(file)
            offsets = {item.name: file[item.name].id.get_offset() for item in self.schema.pixels}
        missing = [name for name, offset in offsets.items() if offset is None]
        if missing and self.schema.rows:
            raise ValueError(f"{path} must be contiguous to be read by offset; {', '.join(missing)} is not")
        self._offsets: Mapping[str, int] = offsets
        self._path = path
        self._file = os.open(path, os.O_RDONLY)

    def read(self, item: DataSet, first: int, rows: int) -> npt.NDArray[np.uint16]:
        """Rows [first, first + rows) of one pixel data set, shape (rows, ...), uint16.

        Raises:
            OSError: the file ends before.
        """
        out = np.empty((rows, *item.row_shape), np.uint16)
        row_bytes = out.nbytes // max(rows, 1)
        view = memoryview(out).cast("B")
        done = 0
        while done < out.nbytes:
            got = os.preadv(self._file, [view[done:]], self._offsets[item.name] + first * row_bytes + done)
            if got == 0:
                raise OSError(f"store ends inside {item.name}, row {first + done // row_bytes}: it is truncated")
            done += got
        return out

    def row(self, row: int) -> list[npt.NDArray[np.uint16]]:
        """One row of every pixel data set, in the order of `Schema.pixels`."""
        return [self.read(item, row, 1)[0] for item in self.schema.pixels]

    def blank(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows` to 0, on the disk."""
        handle = os.open(self._path, os.O_RDWR)
        try:
            for item in self.schema.pixels:
                zeros = bytes(2 * int(np.prod(item.row_shape)))
                for row in rows:
                    os.pwrite(handle, zeros, self._offsets[item.name] + row * len(zeros))
            os.fsync(handle)
        finally:
            os.close(handle)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> "RowReader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def overwrite(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Replace whole data sets by plain writes at their offsets, and sync: no metadata byte changes.

    Raises:
        ValueError: an array has not the size of its data set.
    """
    places = {}
    with h5py.File(path, "r") as file:
        for name, array in arrays.items():
            target = file[name]
            if target.nbytes != array.nbytes:
                raise ValueError(f"{name} must be {target.nbytes} bytes, got {array.nbytes}")
            places[name] = target.id.get_offset()
    handle = os.open(path, os.O_RDWR)
    try:
        for name, array in arrays.items():
            os.pwrite(handle, np.ascontiguousarray(array).tobytes(), places[name])
        os.fsync(handle)
    finally:
        os.close(handle)


def blank_checksum(schema: Schema) -> int:
    """Checksum of a rejected row, all of whose pixels are 0."""
    return checksum([np.zeros(item.row_shape, np.uint16) for item in schema.pixels])
