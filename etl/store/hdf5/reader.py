"""Read an HDF5 store: contiguous pixels by file offset without HDF5, compressed ones through it."""

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from etl.pixel_groups import IMAGES
from etl.store.byte_ranges import OffsetReader
from etl.store.layout import as_json

__all__ = ["ArrayInfo", "Hdf5Reader", "is_hdf5", "open_hdf5"]

_CHUNK_CACHE_BYTES = 64 << 20
"""Bytes of memory for chunks that hold more rows than are asked for, in each data set."""


def is_hdf5(path: Path) -> bool:
    """Whether the file starts with the HDF5 signature; it may be truncated."""
    return path.is_file() and bool(h5py.is_hdf5(path))


def open_hdf5(path: Path, **options: Any) -> h5py.File:
    """The file, open for reading, with the compression filters of hdf5plugin registered if it needs them.

    It is locked only if the file system has locks, so that a store on a read-only mount opens too.

    Raises:
        OSError: it is not HDF5, or truncated.
    """
    file = h5py.File(path, "r", locking="best-effort", **options)
    if any(getattr(item, "chunks", None) for item in file.values()):
        import hdf5plugin  # noqa: F401  # registers Blosc and Zstandard, which chunks may need
    return file


class ArrayInfo(NamedTuple):
    """Shape and type of an array, and attributes of pixels and classes, known also after its file is closed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attrs: dict[str, Any]


def _describe(name: str, item: h5py.Dataset) -> ArrayInfo:
    stated = ("bands", "bands_in_files", "nodata") if name == IMAGES else ("class_names",) if name == "classes" else ()
    return ArrayInfo(item.shape, item.dtype, {key: item.attrs[key] for key in stated if key in item.attrs})


class Hdf5Reader:
    """The arrays of an HDF5 store. No file stays open in HDF5 while pixels are contiguous, so no lock is held."""

    def __init__(self, path: Path) -> None:
        """Look up every array.

        Raises:
            OSError: the file is not HDF5, or truncated.
        """
        self._path = path
        objects: dict[str, h5py.HLObject] = {}
        with open_hdf5(path) as file:
            self.attributes = {key: as_json(value) for key, value in file.attrs.items()}
            file.visititems(objects.__setitem__)
            datasets = {name: item for name, item in objects.items() if isinstance(item, h5py.Dataset)}
            self.arrays = {name: _describe(name, item) for name, item in datasets.items()}
            pixel_offsets = {name: item.id.get_offset() for name, item in datasets.items() if item.ndim == 4}
        offsets = {name: offset for name, offset in pixel_offsets.items() if offset is not None}  # None: not contiguous
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

    def read_rows(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out`, shape (patch, ...), in the stored dtype, with `rows` of a pixel array, in any order.

        Raises:
            OSError: the file is truncated, or a chunk cannot be decompressed.
        """
        if name in self._contiguous or not len(rows):
            self._by_offset.read_rows(name, rows, out)
            return
        array, first = self._file[name], int(rows[0])
        if np.array_equal(rows, np.arange(first, first + len(rows))):
            out[...] = array[first : first + len(rows)]  # HDF5 selects each row of a list on its own, which is slow
            return
        distinct, inverse = np.unique(rows, return_inverse=True)  # HDF5 selects each row once, in ascending order
        out[...] = array[distinct][inverse]

    def close(self) -> None:
        """Release the memory map, and the HDF5 file if it was opened."""
        self._by_offset.close()
        if "_file" in self.__dict__:
            self._file.close()

    @cached_property
    def _file(self) -> h5py.File:
        return open_hdf5(self._path, rdcc_nbytes=_CHUNK_CACHE_BYTES)
