"""The store that is written: laid out complete but for its pixels, filled with runs of rows, then finished."""

import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5z

from etl.convert.settings import ConvertSettings
from etl.convert.zarr_store import create_zarr
from etl.store.hdf5 import Chunks, create, create_chunked
from etl.store.rows import overwrite
from etl.store.schema import Schema

__all__ = ["Target", "draft_of", "make_target", "remove", "sync"]

_ALIGN_BYTES = 1 << 20


class Target(Protocol):
    """A store in the making."""

    def write(self, name: str, first: int, rows: npt.NDArray[np.uint16]) -> None:
        """Write `rows`, shape (n, ...), to rows [first, first + n) of a pixel data set."""

    def finish(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole small arrays, in the order given, and bring everything to the disk."""


def draft_of(out: Path) -> Path:
    """The name under which `out` is made."""
    return out.with_name(f".{out.name}.draft")


def remove(path: Path) -> None:
    """Remove a store, file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Bring a store, file or folder, to the disk."""
    for part in [path, *path.rglob("*")]:
        handle = os.open(part, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def make_target(
    path: Path,
    schema: Schema,
    identity: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Any],
    settings: ConvertSettings,
) -> Target:
    """A new store at `path`, without pixels, in the format and layout that `settings` ask for.

    Raises:
        OSError: it cannot be written.
    """
    if settings.out.suffix == ".zarr":
        return _Zarr(path, schema, identity, attributes, settings)
    if settings.codec == "none":
        return _Contiguous(path, schema, identity, attributes)
    return _Chunked(path, schema, identity, attributes, _chunks(settings))


def _chunks(settings: ConvertSettings) -> Chunks:
    import hdf5plugin

    if settings.codec == "gzip":
        return Chunks(settings.chunk_rows, shuffle=True, filter=(h5z.FILTER_DEFLATE, (settings.level,)))
    if settings.codec == "zstd":
        return Chunks(settings.chunk_rows, shuffle=True, filter=(hdf5plugin.Zstd.filter_id, (settings.level,)))
    blosc = hdf5plugin.Blosc(cname="zstd", clevel=settings.level, shuffle=hdf5plugin.Blosc.BITSHUFFLE)
    return Chunks(settings.chunk_rows, filter=(blosc.filter_id, blosc.filter_options))


class _Contiguous:
    """HDF5, rows at known offsets, by plain writes."""

    def __init__(
        self, path: Path, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]
    ) -> None:
        create(path, schema, identity, attributes, _ALIGN_BYTES)
        with h5py.File(path, "r") as file:
            self._offsets = {item.name: file[item.name].id.get_offset() for item in schema.pixels}
        self._path = path

    def write(self, name: str, first: int, rows: npt.NDArray[np.uint16]) -> None:
        with self._path.open("r+b", buffering=0) as file:
            view = memoryview(np.ascontiguousarray(rows)).cast("B")
            place = self._offsets[name] + first * (view.nbytes // max(len(rows), 1))
            while view:
                done = os.pwrite(file.fileno(), view, place)
                view, place = view[done:], place + done

    def finish(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        overwrite(self._path, arrays)


class _Chunked:
    """HDF5 in compressed chunks."""

    def __init__(
        self,
        path: Path,
        schema: Schema,
        identity: Mapping[str, npt.NDArray[Any]],
        attributes: Mapping[str, Any],
        chunks: Chunks,
    ) -> None:
        create_chunked(path, schema, identity, attributes, chunks)
        self._path = path
        self._file = h5py.File(path, "r+", libver=("v108", "latest"))

    def write(self, name: str, first: int, rows: npt.NDArray[np.uint16]) -> None:
        self._file[name][first : first + len(rows)] = rows

    def finish(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self._file.close()
        overwrite(self._path, arrays)


class _Zarr:
    """Zarr, shards written by TensorStore."""

    def __init__(
        self,
        path: Path,
        schema: Schema,
        identity: Mapping[str, npt.NDArray[Any]],
        attributes: Mapping[str, Any],
        settings: ConvertSettings,
    ) -> None:
        import tensorstore

        create_zarr(path, schema, identity, attributes, settings)
        self._path = path
        self._arrays = {
            item.name: tensorstore.open(
                {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path.resolve() / item.name}/"}}, open=True
            ).result()
            for item in schema.pixels
        }

    def write(self, name: str, first: int, rows: npt.NDArray[np.uint16]) -> None:
        try:
            self._arrays[name][first : first + len(rows)].write(rows).result()
        except ValueError as error:
            raise OSError(f"{self._path}: {name} cannot be written: {error}") from None

    def finish(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        import zarr

        self._arrays.clear()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fixed-length bytes are an extension of the specification
            group = zarr.open_group(self._path, mode="r+", zarr_format=3)
            for name, array in arrays.items():
                target = group[name]
                if not isinstance(target, zarr.Array):
                    raise OSError(f"{self._path} has no array {name} any more")
                target[...] = array
