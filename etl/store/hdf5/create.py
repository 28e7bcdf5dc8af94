"""Create a store as one HDF5 file, complete with all metadata, and change its raw bytes afterwards.

`create` lays out every data set, attribute and dimension scale under a temporary name, syncs and renames; from then on
no metadata byte changes, so that a run killed at any instant leaves a file that opens. Data sets are contiguous,
allocated early and never filled: a row lies at a known offset and is read without HDF5.

Source: HDF5 reference manual (allocation time, fill time, dimension scales); netCDF-4 conventions for strings.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5f, h5p, h5s, h5z

from etl.schema import COMPLETE, FLAGS, DataSet, Schema, encoded
from etl.store.sync import sync_folder

__all__ = ["Chunks", "create_chunked_hdf5", "create_hdf5", "overwrite_hdf5", "zero_hdf5_rows"]

log = logging.getLogger(__name__)

_CANNOT_RESERVE = (errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What `posix_fallocate` says where there is no such thing; EBADF by its emulation, as the file is open to append."""

_METADATA_BYTES = 1 << 20
"""More than HDF5's metadata take, beside the rows."""


@dataclass(frozen=True, slots=True)
class Chunks:
    """How the pixel data sets of a store are cut and compressed; all others stay contiguous."""

    rows: int
    """Patches of one chunk."""

    shuffle: bool = False
    """Whether HDF5 groups the bytes of its numbers before it compresses."""

    filter: tuple[int, tuple[int, ...]] | None = None
    """HDF5's number of the compressor and its options; None stores chunks as they are."""


def create_hdf5(
    path: Path,
    schema: Schema,
    identity: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Any],
    align_bytes: int,
) -> None:
    """Make the complete, empty store at `path`: all metadata and `identity`, no pixels.

    `identity` holds the columns of `schema.identity` and any of `schema.results`; without a `state` every row is in
    state 0. Space for all rows is reserved at once. One process calls this.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    with _made(path, f"{path} ({schema.rows * schema.row_bytes / 2**20:.0f} MiB)") as temporary:
        columns = (*schema.identity, *schema.results)
        _reserve(temporary, _METADATA_BYTES + sum(int(np.prod(c.shape)) * np.dtype(c.dtype).itemsize for c in columns))
        _lay_out(temporary, schema, identity, attributes, align_bytes)
        _reserve(temporary, temporary.stat().st_size)


def create_chunked_hdf5(
    path: Path,
    schema: Schema,
    identity: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Any],
    chunks: Chunks,
) -> None:
    """As `create_hdf5`, with pixels in chunks, whose space is taken as they are written: not for writing by many ranks.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    with _made(path, str(path)) as temporary:
        _lay_out(temporary, schema, identity, attributes, chunks)


@contextlib.contextmanager
def _made(path: Path, what: str) -> Iterator[Path]:
    """A temporary name for what is made within, which then gets its own, on the disk; nothing is left of a failure."""
    temporary = path.with_name(path.name + ".part")
    try:
        yield temporary
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(f"{what} cannot be created: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _reserve(path: Path, size: int) -> None:
    """Make sure that `size` bytes of the file are on the disk: HDF5 can crash where its own metadata find no room.

    Where the file system cannot reserve (older NFS, Lustre), a full disk shows itself later, as an error of a write.
    """
    with path.open("ab") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                raise
            log.warning("%s: its file system cannot reserve space; a full disk would show only while writing", path)
        os.fsync(file.fileno())


def _lay_out(
    path: Path,
    schema: Schema,
    identity: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Any],
    pixels: int | Chunks,
) -> None:
    """Make the file; `pixels` is the alignment in bytes of contiguous data sets, or how those of pixels are cut."""
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_LATEST)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    if isinstance(pixels, int):
        access.set_alignment(pixels, pixels)
    chunks = pixels if isinstance(pixels, Chunks) else None
    with h5py.File(h5f.create(os.fsencode(path), h5f.ACC_TRUNC, fapl=access)) as file:
        scales = {item.name: _add_coordinate(file, item, values) for item, values in schema.coordinates}
        for item in (*schema.identity, *schema.results, *schema.pixels):
            made = _add(file, item, chunks if item in schema.pixels else None)
            if item.name in identity:
                _fill(made, identity[item.name].astype(item.dtype))
            elif item.name == "state":
                made[...] = 0
        scales["patch"] = file["patch"]
        scales |= {item.name: _add_coordinate(file, item, values) for item, values in schema.statistics_coordinates}
        for item in (*schema.statistics, COMPLETE):
            _add(file, item)[...] = 0
        for name, scale in scales.items():
            scale.make_scale(name.rsplit("/", 1)[-1])
        for item in (*schema.identity, *schema.results, *schema.pixels, *schema.statistics):
            _attach_scales(file, item, scales)
        for key, value in attributes.items():
            file.attrs[key] = value


def _layout(item: DataSet, chunks: Chunks | None) -> Any:
    """How a data set lies in the file: contiguous, allocated at once and never filled, or in chunks."""
    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_fill_time(h5d.FILL_TIME_NEVER)
    if chunks is None or not item.shape[0]:
        layout.set_layout(h5d.CONTIGUOUS)
        layout.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        return layout
    layout.set_chunk((min(chunks.rows, item.shape[0]), *item.row_shape))
    if chunks.shuffle:
        layout.set_shuffle()
    if chunks.filter is not None:
        layout.set_filter(chunks.filter[0], h5z.FLAG_MANDATORY, chunks.filter[1])
    return layout


def _add_coordinate(file: h5py.File, item: DataSet, values: Sequence[object]) -> h5py.Dataset:
    made = _add(file, item)
    _fill(made, encoded(values, item.dtype))
    return made


def _add(file: h5py.File, item: DataSet, chunks: Chunks | None = None) -> h5py.Dataset:
    """A data set with its attributes, and the groups above it."""
    layout, (*groups, name) = _layout(item, chunks), item.name.split("/")
    file.require_group("/" + "/".join(groups))
    text = item.dtype.startswith("S")
    kind = h5py.string_dtype("utf-8", int(item.dtype[1:])) if text else np.dtype(item.dtype)
    made = h5py.Dataset(
        h5d.create(
            file.id, item.name.encode(), h5py.h5t.py_create(kind, logical=True), h5s.create_simple(item.shape), layout
        )
    )
    for key, value in item.attributes.items():
        made.attrs[key] = value
    if text:
        made.attrs["_Encoding"] = "utf-8"
    if name in FLAGS:
        meanings = FLAGS[name]
        made.attrs["flag_values"] = np.arange(len(meanings), dtype=np.uint8)
        made.attrs["flag_meanings"] = " ".join(meanings)
    return made


def _fill(target: h5py.Dataset, values: npt.NDArray[Any]) -> None:
    """Write a whole data set; text as the bytes that it is, which HDF5 would not convert to UTF-8."""
    target.id.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(values), mtype=target.id.get_type())


def _attach_scales(file: h5py.File, item: DataSet, scales: Mapping[str, h5py.Dataset]) -> None:
    """Attach the scale of each dimension; statistics have splits and words of their own."""
    for axis, dim in enumerate(item.dims):
        if item.name != dim:
            own = f"stats/{dim}" if item.name.startswith("stats/") else dim
            file[item.name].dims[axis].attach_scale(scales[own if own in scales else dim])


def overwrite_hdf5(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Replace whole data sets by plain writes at their offsets, and sync: no metadata byte changes.

    Raises:
        ValueError: an array has not the size of its data set.
    """
    offsets = {}
    with h5py.File(path, "r") as file:
        for name, array in arrays.items():
            target = file[name]
            if target.nbytes != array.nbytes:
                raise ValueError(f"{name} must be {target.nbytes} bytes, got {array.nbytes}")
            offsets[name] = target.id.get_offset()
    with _writable(path) as handle:
        for name, array in arrays.items():
            os.pwrite(handle, np.ascontiguousarray(array).tobytes(), offsets[name])


def zero_hdf5_rows(path: Path, schema: Schema, rows: Sequence[int]) -> None:
    """Set the pixels of `rows` of a contiguous store to 0, and sync."""
    with h5py.File(path, "r") as file:
        offsets = {item.name: file[item.name].id.get_offset() for item in schema.pixels}
    with _writable(path) as handle:
        for item in schema.pixels:
            zeros = bytes(2 * int(np.prod(item.row_shape)))
            for row in rows:
                os.pwrite(handle, zeros, offsets[item.name] + row * len(zeros))


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[int]:
    """The descriptor of a file open for writing, synced in the end."""
    handle = os.open(path, os.O_RDWR)
    try:
        yield handle
        os.fsync(handle)
    finally:
        os.close(handle)
