"""Manifest of an HDF5 store: a small JSON file with the byte range of each chunk, which makes it readable as Zarr.

The format is kerchunk's, version 1, which fsspec reads: any Zarr reader that goes through fsspec opens it. Contiguous
arrays, one piece in HDF5, are divided into chunks of whole rows, so that they are read part by part. kerchunk itself
does not write it: it waits for Zarr's thread while it holds h5py's lock, and hangs if that thread frees an HDF5 object.

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

__all__ = ["build_manifest", "open_manifest"]

_MAX_CHUNK_ROWS = 64
"""Most rows of one chunk into which a contiguous array is divided."""

_FILE = "{{u}}"
"""Placeholder for the path of the HDF5 file in every reference; `templates` holds the path once."""

_BLOSC, _ZSTD = 32001, 32015
_BLOSC_NAMES = ("blosclz", "lz4", "lz4hc", "snappy", "zlib", "zstd")
"""Blosc's compressors by the number that the HDF5 filter options give."""

_HDF5_INTERNAL = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates")


def build_manifest(path: Path) -> dict[str, Any]:
    """References (file, first byte, number of bytes) of every chunk of the HDF5 store at `path`, and Zarr metadata.

    Raises:
        OSError: the store cannot be read.
        ValueError: it is not a store, or is compressed by a filter that Zarr does not have.
    """
    refs: dict[str, Any] = {".zgroup": '{"zarr_format":2}'}
    with h5py.File(path, "r") as file:
        schema = schema_of(file, path)
        refs[".zattrs"] = _to_json(_attributes(file))
        for group in ("stats", *(f"stats/{item.name}" for item in schema.pixels)):
            refs[f"{group}/.zgroup"] = refs[".zgroup"]
        coordinates = [item for item, _ in (*schema.coordinates, *schema.statistics_coordinates)]
        columns = (*schema.identity, *schema.results)
        for item in (*columns, *schema.pixels, *coordinates, *schema.statistics, COMPLETE):
            _add_references(refs, file[item.name], item, item in schema.pixels)
    return {"version": 1, "templates": {"u": str(path.resolve())}, "refs": refs}


def _add_references(refs: dict[str, Any], array: h5py.Dataset, item: DataSet, by_rows: bool) -> None:
    """Add the metadata of one array, and the byte range of each of its chunks, to `refs`."""
    chunks = array.chunks or _chunk_shape(array.shape, by_rows)
    metadata = {
        "zarr_format": 2,
        "shape": array.shape,
        "chunks": chunks,
        "dtype": array.dtype.str,
        "fill_value": None,
        "order": "C",
        "filters": _codecs(array) or None,
        "compressor": None,
    }
    refs[f"{item.name}/.zarray"] = _to_json(metadata)
    refs[f"{item.name}/.zattrs"] = _to_json({"_ARRAY_DIMENSIONS": item.dims, **_attributes(array)})
    for key, offset, size in _chunk_ranges(array, chunks):
        refs[f"{item.name}/{key}"] = [_FILE, offset, size]


def _chunk_shape(shape: tuple[int, ...], by_rows: bool) -> tuple[int, ...]:
    """Shape of the chunks of a contiguous array: the most rows that divide it evenly, or all of it."""
    if not by_rows or not shape[0]:
        return tuple(max(1, length) for length in shape)
    rows = next(rows for rows in range(min(_MAX_CHUNK_ROWS, shape[0]), 0, -1) if shape[0] % rows == 0)
    return (rows, *shape[1:])


def _chunk_ranges(array: h5py.Dataset, chunks: tuple[int, ...]) -> Iterator[tuple[str, int, int]]:
    """Key, first byte and number of bytes of each chunk; HDF5 and Zarr both store a last chunk whole."""
    if array.chunks:
        for k in range(array.id.get_num_chunks()):
            chunk = array.id.get_chunk_info(k)
            if chunk.filter_mask:
                raise ValueError(
                    f"{array.name} has a chunk that its compression left as it is, which a manifest cannot describe; "
                    "convert the store with --compress none first"
                )
            index = (first // length for first, length in zip(chunk.chunk_offset, chunks, strict=True))
            yield ".".join(map(str, index)), chunk.byte_offset, chunk.size
        return
    offset = array.id.get_offset()
    if offset is None:  # no rows
        return
    size = int(np.prod(chunks, dtype=np.int64)) * array.dtype.itemsize
    other_axes = [0] * (array.ndim - 1)
    for k in range(array.shape[0] // chunks[0] if array.ndim else 1):
        yield ".".join(map(str, [k, *other_axes])), offset + k * size, size


def _codecs(array: h5py.Dataset) -> list[dict[str, Any]]:
    """HDF5's filters as numcodecs configures them, in the order in which they were applied."""
    creation, codecs = array.id.get_create_plist(), []
    for k in range(creation.get_nfilters()):
        number, _, options, _ = creation.get_filter(k)
        if number == h5z.FILTER_SHUFFLE:
            codecs.append({"id": "shuffle", "elementsize": array.dtype.itemsize})
        elif number == h5z.FILTER_DEFLATE:
            codecs.append({"id": "zlib", "level": options[0]})
        elif number == _ZSTD:
            codecs.append({"id": "zstd", "level": options[0] if options else 3})
        elif number == _BLOSC:
            name = _BLOSC_NAMES[options[6]]
            codecs.append({"id": "blosc", "cname": name, "clevel": options[4], "shuffle": options[5], "blocksize": 0})
        else:
            raise ValueError(f"{array.name} must be compressed by gzip, zstd or blosc, got HDF5's filter {number}")
    return codecs


def _attributes(item: h5py.HLObject) -> dict[str, Any]:
    return {key: as_json(item.attrs[key]) for key in item.attrs if key not in _HDF5_INTERNAL}


def _to_json(metadata: dict[str, Any]) -> str:
    return json.dumps(metadata, separators=(",", ":"))


def open_manifest(path: Path) -> Any:
    """The HDF5 store of the manifest at `path`, as a store object of zarr-python.

    The HDF5 file is looked for beside the manifest first, since both may have been moved, then at its recorded path.

    Raises:
        ValueError: it is not a manifest, or the HDF5 file is gone.
    """
    import fsspec
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper
    from zarr.storage import FsspecStore

    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        recorded = Path(manifest["templates"]["u"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} must be a manifest made by python -m etl.convert STORE.h5 --out STORE.json") from None
    sibling = path.with_name(recorded.name)
    file = sibling if sibling.exists() else recorded
    if not file.exists():
        raise ValueError(f"{path} names {recorded.name}, which must lie beside it or at {recorded}, and does not")
    refs = {**manifest, "templates": {"u": str(file.resolve())}}
    local = AsyncFileSystemWrapper(fsspec.filesystem("file"), asynchronous=True)
    return FsspecStore(fsspec.filesystem("reference", fo=refs, fs=local, asynchronous=True), read_only=True, path="")
