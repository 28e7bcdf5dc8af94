"""Read an HDF5 store: contiguous pixels by file offset without HDF5, compressed ones through it."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from etl.files import NO_LOCKS
from etl.pixel_groups import IMAGES
from etl.store.byte_ranges import OffsetReader
from etl.store.hdf5.members import list_arrays
from etl.store.layout import as_json

__all__ = ["ArrayInfo", "Hdf5Reader", "is_hdf5", "open_hdf5", "translated_hdf5_errors"]

_CHUNK_CACHE_BYTES = 64 << 20
"""Bytes of memory for chunks that hold more rows than are asked for, in each data set."""


def is_hdf5(path: Path) -> bool:
    """Whether the file starts with the HDF5 signature; it may be truncated."""
    return path.is_file() and bool(h5py.is_hdf5(path))


class _File(h5py.File):  # type: ignore[misc]  # h5py has no types
    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: the system cannot close it, for which h5py raises a RuntimeError.
        """
        try:
            super().close()
        except RuntimeError as error:
            raise OSError(str(error)) from None


def open_hdf5(path: Path, **options: Any) -> h5py.File:
    """The file, open for reading.

    It is locked only if the file system has locks, so that a store on a read-only mount opens too.

    Raises:
        OSError: it is not HDF5, or truncated; or it cannot be locked, and the environment asks HDF5 for locks.
    """
    try:
        return _File(path, "r", locking="best-effort", **options)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        if "HDF5_USE_FILE_LOCKING" in os.environ:  # which beats `locking`
            advice = "its file system has no locks: set HDF5_USE_FILE_LOCKING=FALSE"
            raise OSError(error.errno, advice, str(path)) from None
        return _File(path, "r", locking=False, **options)


@contextlib.contextmanager
def translated_hdf5_errors() -> Iterator[None]:
    """Raise errors of h5py, which depend on where HDF5 meets damage, as a ValueError; an OSError stays one."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise ValueError(f"it is damaged or not a store of etl.extract: {error}") from None


class ArrayInfo(NamedTuple):
    """Shape and type of an array, and attributes of pixels and classes, known also after its file is closed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attrs: dict[str, Any]


def _describe(name: str, item: h5py.Dataset) -> ArrayInfo:
    stated = ("bands", "bands_in_files", "nodata") if name == IMAGES else ("class_names",) if name == "classes" else ()
    return ArrayInfo(item.shape, item.dtype, {key: item.attrs[key] for key in stated if key in item.attrs})


def _has_scales(item: h5py.Dataset) -> bool:
    """Whether an array has a list of dimension scales, of the right type: HDF5 crashes where it is of another."""
    if "DIMENSION_LIST" not in item.attrs:
        return False
    attribute = h5py.h5a.open(item.id, b"DIMENSION_LIST")
    kind = attribute.get_type()
    is_list = isinstance(kind, h5py.h5t.TypeVlenID) and isinstance(kind.get_super(), h5py.h5t.TypeReferenceID)
    return is_list and attribute.shape == (item.ndim,)


class Hdf5Reader:
    """The arrays of an HDF5 store. No file stays open in HDF5 while pixels are contiguous, so no lock is held."""

    def __init__(self, path: Path) -> None:
        """Look up every array, with the compression filters of hdf5plugin registered if one has chunks.

        Raises:
            OSError: the file is not HDF5, or truncated.
            ValueError: a member leads out of the file, or is damaged.
        """
        self._path = path
        with translated_hdf5_errors(), open_hdf5(path) as file:
            datasets = list_arrays(file)  # before anything else, as HDF5 follows links and references unasked
            self.attributes = {key: as_json(value) for key, value in file.attrs.items()}
            self.arrays = {name: _describe(name, item) for name, item in datasets.items()}
            pixel_offsets = {name: item.id.get_offset() for name, item in datasets.items() if item.ndim == 4}
            self.in_chunks = any(datasets[name].chunks for name in pixel_offsets)
            if any(item.chunks for item in datasets.values()):
                import hdf5plugin  # noqa: F401  # registers Blosc and Zstandard, which chunks may need
        offsets = {name: offset for name, offset in pixel_offsets.items() if offset is not None}  # None: not contiguous
        self._contiguous = frozenset(offsets)
        self._by_offset = OffsetReader(path, offsets)

    def read_arrays(self, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Whole arrays by name, in their stored shape and dtype.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is damaged.
        """
        with translated_hdf5_errors(), open_hdf5(self._path) as file:
            return {name: np.asarray(file[name][()]) for name in names}

    def read_strings(self, name: str) -> list[str] | None:
        """None: HDF5 holds each array once."""
        return None

    def missing_shards(self, name: str, rows: npt.NDArray[np.int64]) -> dict[str, int]:
        """None: an HDF5 store is one file."""
        return {}

    def axis_names(self, name: str) -> list[tuple[str, ...]]:
        """Names of the dimension scales on each axis of an array."""
        with translated_hdf5_errors(), open_hdf5(self._path) as file:
            if not _has_scales(file[name]):
                return [()] * file[name].ndim
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
        with translated_hdf5_errors():
            self._read_chunks(self._file[name], rows, out)

    def _read_chunks(self, array: h5py.Dataset, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        first = int(rows[0])
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
