"""An HDF5 store seen as Zarr without a copy: a small JSON file beside it names where in the file each chunk lies.

The format is kerchunk's, version 1, which fsspec reads: any Zarr reader that goes through fsspec opens it. Contiguous
arrays, one piece in HDF5, are cut into chunks of whole rows, so that they are read part by part. kerchunk itself does
not write it: it waits for Zarr's thread while it holds h5py's lock, and hangs where that thread frees an HDF5 object.

Source: fsspec, "ReferenceFileSystem", version 1 of the references; Zarr version 2 specification; numcodecs.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5z

from etl.schema import COMPLETE, DataSet, schema_of
from etl.store.layout import as_json

__all__ = ["manifest_of", "mapped"]

_MOST_ROWS = 64
"""Rows of one chunk of a contiguous array at most."""

_FILE = "{{u}}"
"""Stands for the HDF5 file in every reference; what it is, is said once."""

_BLOSC, _ZSTD = 32001, 32015
_BLOSC_NAMES = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
"""Blosc's compressors by the number that its HDF5 filter is told."""

_HDF5_OWN = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")


def manifest_of(path: Path) -> dict[str, Any]:
    """References (file, first byte, number of bytes) of every chunk of the HDF5 store at `path`, and Zarr metadata.

    Raises:
        OSError: the store cannot be read.
        ValueError: it is no store, or is compressed by what Zarr does not know.
    """
    refs: dict[str, Any] = {".zgroup": '{"zarr_format":2}'}
    with h5py.File(path, "r") as file:
        schema = schema_of(file, path)
        refs[".zattrs"] = _text(_attributes(file))
        for group in ("stats", *(f"stats/{item.name}" for item in schema.pixels)):
            refs[f"{group}/.zgroup"] = refs[".zgroup"]
        coordinates = [item for item, _ in (*schema.coordinates, *schema.statistics_coordinates)]
        columns = (*schema.identity, *schema.results)
        for item in (*columns, *schema.pixels, *coordinates, *schema.statistics, COMPLETE):
            _refer(refs, file[item.name], item, item in schema.pixels)
    return {"version": 1, "templates": {"u": str(path.resolve())}, "refs": refs}


def _refer(refs: dict[str, Any], array: h5py.Dataset, item: DataSet, by_rows: bool) -> None:
    """Add the metadata of one array and where its chunks lie."""
    chunks = array.chunks or _cut(array.shape, by_rows)
    about = {
        "zarr_format": 2,
        "shape": array.shape,
        "chunks": chunks,
        "dtype": array.dtype.str,
        "fill_value": None,
        "order": "C",
        "filters": _codecs(array) or None,
        "compressor": None,
    }
    refs[f"{item.name}/.zarray"] = _text(about)
    refs[f"{item.name}/.zattrs"] = _text({"_ARRAY_DIMENSIONS": item.dims, **_attributes(array)})
    for key, offset, size in _places(array, chunks):
        refs[f"{item.name}/{key}"] = [_FILE, offset, size]


def _cut(shape: tuple[int, ...], by_rows: bool) -> tuple[int, ...]:
    """Chunks of a contiguous array: as many rows as divide it evenly, or all of it."""
    if not by_rows or not shape[0]:
        return tuple(max(1, length) for length in shape)
    rows = next(rows for rows in range(min(_MOST_ROWS, shape[0]), 0, -1) if shape[0] % rows == 0)
    return (rows, *shape[1:])


def _places(array: h5py.Dataset, chunks: tuple[int, ...]) -> Iterator[tuple[str, int, int]]:
    """(key, offset, bytes) of each chunk; HDF5 and Zarr both store a last chunk whole."""
    if array.chunks:
        for k in range(array.id.get_num_chunks()):
            found = array.id.get_chunk_info(k)
            index = (first // length for first, length in zip(found.chunk_offset, chunks, strict=True))
            yield ".".join(map(str, index)), found.byte_offset, found.size
        return
    offset = array.id.get_offset()
    if offset is None:  # no rows
        return
    size = int(np.prod(chunks, dtype=np.int64)) * array.dtype.itemsize
    rest = [0] * (array.ndim - 1)
    for k in range(array.shape[0] // chunks[0] if array.ndim else 1):
        yield ".".join(map(str, [k, *rest])), offset + k * size, size


def _codecs(array: h5py.Dataset) -> list[dict[str, Any]]:
    """HDF5's filters under their names in numcodecs, in the order in which they were applied."""
    layout, out = array.id.get_create_plist(), []
    for k in range(layout.get_nfilters()):
        number, _, options, _ = layout.get_filter(k)
        if number == h5z.FILTER_SHUFFLE:
            out.append({"id": "shuffle", "elementsize": array.dtype.itemsize})
        elif number == h5z.FILTER_DEFLATE:
            out.append({"id": "zlib", "level": options[0]})
        elif number == _ZSTD:
            out.append({"id": "zstd", "level": options[0] if options else 3})
        elif number == _BLOSC:
            name = _BLOSC_NAMES[options[6]]
            out.append({"id": "blosc", "cname": name, "clevel": options[4], "shuffle": options[5], "blocksize": 0})
        else:
            raise ValueError(f"{array.name} must be compressed by gzip, zstd or blosc, got HDF5's filter {number}")
    return out


def _attributes(item: h5py.HLObject) -> dict[str, Any]:
    return {key: as_json(item.attrs[key]) for key in item.attrs if key not in _HDF5_OWN}


def _text(about: dict[str, Any]) -> str:
    return json.dumps(about, separators=(",", ":"))


def mapped(path: Path) -> Any:
    """What zarr-python takes for a store, of the manifest at `path`.

    The HDF5 file is looked for beside the manifest first, where both have been moved, then where it was.

    Raises:
        ValueError: it is no manifest, or the HDF5 file is gone.
    """
    import fsspec
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from zarr.storage import FsspecStore

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        said = Path(found["templates"]["u"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} must be a manifest made by python -m etl.convert STORE.h5 --out STORE.json") from None
    beside = path.with_name(said.name)
    file = beside if beside.exists() else said
    if not file.exists():
        raise ValueError(f"{path} names {said.name}, which must lie beside it or at {said}, and does not")
    refs = {**found, "templates": {"u": str(file.resolve())}}
    local = AsyncFileSystemWrapper(fsspec.filesystem("file"), asynchronous=True)
    return FsspecStore(fsspec.filesystem("reference", fo=refs, fs=local, asynchronous=True), read_only=True, path="")
