"""Read an HDF5 store: contiguous pixels by file offset without HDF5, compressed ones through it."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from etl.store.byte_ranges import OffsetReader
from etl.store.layout import as_json

__all__ = ["ArrayInfo", "Hdf5Reader", "is_hdf5", "open_hdf5"]

_CHUNK_CACHE_BYTES = 64 << 20
"""Memory for chunks that hold more rows than are asked for, in each data set."""


def is_hdf5(path: Path) -> bool:
    """Whether the first bytes of a file are those of HDF5, be it whole or not."""
    return path.is_file() and bool(h5py.is_hdf5(path))


def open_hdf5(path: Path, **options: Any) -> h5py.File:
    """The file, open for reading, with the compressors of hdf5plugin known to HDF5.

    Without a lock where the file system has none, so that a store on a read-only mount opens too.

    Raises:
        OSError: it is not HDF5, or truncated.
    """
    file = h5py.File(path, "r", locking="best-effort", **options)
    if any(getattr(item, "chunks", None) for item in file.values()):
        import hdf5plugin  # noqa: F401  # registers Blosc and Zstandard; loaded only where chunks may need them
    return file


class ArrayInfo(NamedTuple):
    """Shape and type of an array, known also after its file is closed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Hdf5Reader:
    """The arrays of an HDF5 store. No file stays open in HDF5 while pixels are contiguous, so no lock is held."""

    def __init__(self, path: Path) -> None:
        """Look up every array.

        Raises:
            OSError: the file is not HDF5, or truncated.
        """
        self._path = path
        found: dict[str, h5py.HLObject] = {}
        with open_hdf5(path) as file:
            self.attributes = {key: as_json(value) for key, value in file.attrs.items()}
            file.visititems(found.__setitem__)
            sets = {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
            self.arrays = {name: ArrayInfo(item.shape, item.dtype) for name, item in sets.items()}
            places = {name: item.id.get_offset() for name, item in sets.items() if item.ndim == 4}
        offsets = {name: place for name, place in places.items() if place is not None}
        self._contiguous = frozenset(offsets)
        self._by_offset = OffsetReader(path, offsets)

    def read_arrays(self, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Whole arrays by name, in their stored shape and dtype."""
        with open_hdf5(self._path) as file:
            return {name: np.asarray(file[name][()]) for name in names}

    def axis_names(self, name: str) -> list[tuple[str, ...]]:
        """Names of the dimension scales on each axis of an array."""
        with open_hdf5(self._path) as file:
            axes = [file[name].dims[axis].values() for axis in range(file[name].ndim)]
            return [tuple(scale.name.rsplit("/", 1)[-1] for scale in scales) for scales in axes]

    def read_rows(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (row, ...), uint16, with `rows` of a pixel array, in any order.

        Raises:
            OSError: the file ends before, or a chunk cannot be decompressed.
        """
        if name in self._contiguous or not len(rows):
            self._by_offset.read_rows(name, rows, out)
            return
        array, first = self._file[name], int(rows[0])
        if np.array_equal(rows, np.arange(first, first + len(rows))):
            out[...] = array[first : first + len(rows)]  # a list of rows would be one selection each
            return
        once, where = np.unique(rows, return_inverse=True)  # HDF5 takes each row once, in ascending order
        out[...] = array[once][where]

    def close(self) -> None:
        """Release the memory map, and the HDF5 file if it was opened."""
        self._by_offset.close()
        if "_file" in self.__dict__:
            self._file.close()

    @cached_property
    def _file(self) -> h5py.File:
        return open_hdf5(self._path, rdcc_nbytes=_CHUNK_CACHE_BYTES)
