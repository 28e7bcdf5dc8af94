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
from etl.store.location import HDF5_SUFFIXES

__all__ = ["build_manifest", "find_hdf5_store"]

_MAX_CHUNK_ROWS = 64
"""Most rows of one chunk into which a contiguous array is divided."""

_FILE = "{{u}}"
"""Placeholder for the path of the HDF5 file in every reference; `templates` holds the path once."""

_MOST_BYTES = 1 << 30
"""Size of a manifest; that of 590,326 compressed patches has 120 MB."""

_SHOWN = 200
"""Characters of a reference that a message shows."""

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
        schema = schema_of(file, path, lambda name: tuple(value.decode() for value in file[name][()].tolist()))
        if schema.absent:
            raise ValueError(
                f"{path} must have all arrays of a store, and another program wrote it without "
                f"{', '.join(sorted(schema.absent))}; convert it to HDF5 first, which adds them"
            )
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


def find_hdf5_store(path: Path) -> Path:
    """The one HDF5 store that the manifest at `path` describes, every reference of which is a byte range of it.

    The HDF5 file is looked for beside the manifest first, since both may have been moved, then at its recorded path. No
    reference is followed: who has the HDF5 file reads it directly.

    Raises:
        ValueError: it is not a manifest, the HDF5 file is gone, or a reference leads elsewhere.
        OSError: it cannot be read.
    """
    manifest = _read_manifest(path)
    recorded = Path(manifest["templates"]["u"])
    sibling = path.with_name(recorded.name) if recorded.name else recorded
    file = sibling if sibling.is_file() else recorded
    if file.suffix not in HDF5_SUFFIXES or "://" in manifest["templates"]["u"]:
        raise ValueError(f"{path} must be of one HDF5 store (.h5 or .hdf5), got {manifest['templates']['u']}")
    if not file.is_file():
        raise ValueError(f"{path} names {recorded.name}, which must lie beside it or at {recorded}, and does not")
    file_bytes = file.stat().st_size
    for key, reference in manifest["refs"].items():
        if not (_is_metadata(key, reference) or _is_byte_range(reference, file_bytes)):
            raise ValueError(
                f"{path}: its reference {key} must be a range of the {file_bytes} bytes of {file}, got "
                f"{str(reference)[:_SHOWN]}; make the manifest again with python -m etl.convert"
            )
    return file


def _read_manifest(path: Path) -> dict[str, Any]:
    """The manifest, whose templates name one file and whose references are a dictionary."""
    if not path.is_file() or path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{path} must be a manifest, a file of at most {_MOST_BYTES} bytes")
    try:
        manifest = json.loads(path.read_bytes())
        known = manifest["version"] == 1 and set(manifest) == {"version", "templates", "refs"}
        known = known and set(manifest["templates"]) == {"u"} and isinstance(manifest["templates"]["u"], str)
        if known and isinstance(manifest["refs"], dict):
            return dict(manifest)
    except (ValueError, KeyError, TypeError, RecursionError):  # the last: brackets within brackets
        pass
    raise ValueError(f"{path} must be a manifest made by python -m etl.convert STORE.h5 --out STORE.json")


def _is_metadata(key: str, reference: Any) -> bool:
    return isinstance(reference, str) and key.rpartition("/")[2] in (".zgroup", ".zattrs", ".zarray")


def _is_byte_range(reference: Any, file_bytes: int) -> bool:
    """Whether a reference is (the HDF5 file, first byte, number of bytes), within its `file_bytes`."""
    if not isinstance(reference, list) or len(reference) != 3 or reference[0] != _FILE:
        return False
    _, first, count = reference
    return type(first) is int and type(count) is int and first >= 0 < count and first + count <= file_bytes
