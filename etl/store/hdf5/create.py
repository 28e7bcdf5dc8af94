"""Create a store as one HDF5 file, complete with all metadata, and change its raw bytes afterwards.

`create_hdf5` writes every data set, attribute and dimension scale under a temporary name, syncs and renames; after that
no metadata byte changes, so that a run killed at any instant leaves a file that opens. Data sets are contiguous,
allocated early and never filled: a row lies at a known offset and can be read without HDF5.

Source: HDF5 reference manual (allocation time, fill time, dimension scales); netCDF-4 conventions for strings.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5p, h5s, h5z

from etl.files import pwrite_exact, replace_atomically
from etl.schema import COMPLETE, DataSet, Schema, encoded
from etl.store.hdf5.file_object import SteadyFile
from etl.store.hdf5.reader import open_hdf5, translated_hdf5_errors
from etl.store.hdf5.writer import OffsetWriter
from etl.store.layout import Layout, stored_attributes

__all__ = ["create_hdf5", "overwrite_hdf5", "zero_hdf5_rows"]

log = logging.getLogger(__name__)

_CANNOT_RESERVE = (errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of `posix_fallocate` on a file system without it; its emulation gives EBADF, as the file is open to append."""

_METADATA_BYTES = 1 << 20
"""Bytes that are enough for HDF5's metadata."""

_CONTIGUOUS = Layout()


def create_hdf5(
    path: Path, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any], layout: Layout
) -> None:
    """Create the complete, empty store at `path`: all metadata and `identity`, no pixels. One process calls this.

    `identity` holds the columns of `schema.identity` and any of `schema.results`; without a `state` every row is in
    state 0. Space for all contiguous rows is reserved at once; compressed chunks take space as they are written.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    contiguous = layout.hdf5_codec == "none"
    what = f"{path} ({schema.rows * schema.row_bytes / 2**20:.0f} MiB)" if contiguous else str(path)
    try:
        with replace_atomically(path) as temporary:
            if contiguous:
                columns = (*schema.identity, *schema.results)
                sizes = (int(np.prod(item.shape)) * np.dtype(item.dtype).itemsize for item in columns)
                _reserve(temporary, _METADATA_BYTES + sum(sizes))
            _create_file(temporary, schema, identity, attributes, layout)
            if contiguous:
                _reserve(temporary, temporary.stat().st_size)
    except OSError as error:
        raise OSError(f"{what} cannot be created: {error.strerror or error}") from None


def _reserve(path: Path, size: int) -> None:
    """Reserve `size` bytes of disk space for the file: HDF5 can crash if there is no room for its metadata.

    If the file system cannot reserve space (older NFS, Lustre), a full disk is noticed later, as an error of a write.
    """
    with path.open("ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
            log.warning("%s: its file system cannot reserve space; a full disk would show only while writing", path)
        os.fsync(file.fileno())


def _create_file(
    path: Path, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any], layout: Layout
) -> None:
    """Write the file: every array in the shape and dtype of `schema`, and every attribute."""
    align_bytes = layout.align_bytes if layout.hdf5_codec == "none" else 1
    # an older format: HDF5 refuses to open a file of the newest one that a killed writer left open
    options = {"libver": ("v108", "latest"), "alignment_threshold": align_bytes, "alignment_interval": align_bytes}
    with contextlib.closing(SteadyFile(path, create=True)) as disk, h5py.File(disk, "w", **options) as file:
        scales = {item.name: _create_coordinate(file, item, values) for item, values in schema.coordinates}
        for item in (*schema.identity, *schema.results, *schema.pixels):
            dataset = _create_dataset(file, item, layout if item in schema.pixels else _CONTIGUOUS)
            if item.name in identity:
                _write_whole(dataset, identity[item.name].astype(item.dtype, copy=False))
            elif item.name == "state":
                dataset[...] = 0
        scales["patch"] = file["patch"]
        of_groups = (*schema.statistics_coordinates, *schema.digest_coordinates)
        scales |= {item.name: _create_coordinate(file, item, values) for item, values in of_groups}
        for item in (*schema.statistics, *schema.digests, COMPLETE):
            _create_dataset(file, item)[...] = 0
        for name, scale in scales.items():
            scale.make_scale(name.rsplit("/", 1)[-1])
        for item in (*schema.identity, *schema.results, *schema.pixels, *schema.statistics, *schema.digests):
            _attach_scales(file, item, scales)
        for key, value in attributes.items():
            file.attrs[key] = value


def _creation_properties(item: DataSet, layout: Layout) -> Any:
    """HDF5's creation properties of a data set: contiguous, allocated at once and never filled, or in chunks."""
    properties = h5p.create(h5p.DATASET_CREATE)
    properties.set_fill_time(h5d.FILL_TIME_NEVER)
    if layout.hdf5_codec == "none" or not item.shape[0]:
        properties.set_layout(h5d.CONTIGUOUS)
        properties.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        return properties
    import hdf5plugin  # here, as extraction never needs it

    properties.set_chunk((min(layout.chunk_rows, item.shape[0]), *item.row_shape))
    blosc = hdf5plugin.Blosc(cname="zstd", clevel=layout.level, shuffle=hdf5plugin.Blosc.BITSHUFFLE)
    number, options = {
        "gzip": (h5z.FILTER_DEFLATE, (layout.level,)),
        "zstd": (hdf5plugin.Zstd.filter_id, (layout.level,)),
        "blosc": (blosc.filter_id, blosc.filter_options),
    }[layout.hdf5_codec]
    if layout.hdf5_codec != "blosc":  # Blosc shuffles bits itself
        properties.set_shuffle()
    # Blosc refuses a chunk that does not become smaller; if optional, it is stored as it is
    flag = h5z.FLAG_OPTIONAL if layout.hdf5_codec == "blosc" else h5z.FLAG_MANDATORY
    properties.set_filter(number, flag, options)
    return properties


def _create_coordinate(file: h5py.File, item: DataSet, values: Sequence[object]) -> h5py.Dataset:
    return _write_whole(_create_dataset(file, item), encoded(values, item.dtype))


def _create_dataset(file: h5py.File, item: DataSet, layout: Layout = _CONTIGUOUS) -> h5py.Dataset:
    """Create a data set with its attributes, and the groups above it."""
    file.require_group("/" + item.name.rpartition("/")[0])
    text = item.dtype.startswith("S")
    kind = h5py.string_dtype("utf-8", int(item.dtype[1:])) if text else np.dtype(item.dtype)
    stored, space = h5py.h5t.py_create(kind, logical=True), h5s.create_simple(item.shape)
    dataset = h5py.Dataset(h5d.create(file.id, item.name.encode(), stored, space, _creation_properties(item, layout)))
    for key, value in stored_attributes(item).items():
        dataset.attrs[key] = value
    return dataset


def _write_whole(target: h5py.Dataset, values: npt.NDArray[Any]) -> h5py.Dataset:
    """Write a whole data set; text as it is, in bytes, since HDF5 would not convert it to UTF-8."""
    target.id.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(values), mtype=target.id.get_type())
    return target


def _attach_scales(file: h5py.File, item: DataSet, scales: Mapping[str, h5py.Dataset]) -> None:
    """Attach the scale of each dimension; statistics and digests have their own scales in their groups."""
    group = item.name.partition("/")[0]
    for axis, dim in enumerate(item.dims):
        if item.name != dim:
            own = f"{group}/{dim}"
            file[item.name].dims[axis].attach_scale(scales[own if own in scales else dim])


def overwrite_hdf5(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Replace whole data sets by writes at their file offsets, and sync: no metadata byte changes.

    Raises:
        ValueError: the size of an array in bytes differs from its data set's, or that cannot be read.
        OSError: the file cannot be read or written.
    """
    offsets = {}
    with translated_hdf5_errors(), open_hdf5(path) as file:
        for name, array in arrays.items():
            target = file[name]
            if target.nbytes != array.nbytes:
                raise ValueError(f"{name} must be {target.nbytes} bytes, got {array.nbytes}")
            offsets[name] = target.id.get_offset()
    # not through HDF5, which would also change metadata
    with path.open("r+b", buffering=0) as file:
        for name, array in arrays.items():
            pwrite_exact(file.fileno(), memoryview(np.ascontiguousarray(array).tobytes()), offsets[name])
        os.fsync(file.fileno())


def zero_hdf5_rows(path: Path, schema: Schema, rows: Sequence[int]) -> None:
    """Set the pixels of `rows` of a contiguous store to 0, and sync."""
    with OffsetWriter(path) as writer:
        for item, row in product(schema.pixels, rows):
            writer.write(item.name, row, np.zeros((1, *item.row_shape), item.dtype))
        writer.sync()
