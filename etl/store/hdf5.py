"""The store as one HDF5 file: made complete by one process, then filled with raw rows by many.

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
from types import TracebackType
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5f, h5fd, h5p, h5s, h5z

from etl.schema import FLAGS, SPLITS, STATS, DataSet, Schema
from etl.store.sync import WriteBehind, sync_folder

__all__ = ["Chunks", "Writer", "create", "create_chunked", "stats_names"]


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


def create(
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


def create_chunked(
    path: Path,
    schema: Schema,
    identity: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Any],
    chunks: Chunks,
) -> None:
    """As `create`, with pixels in chunks, whose space is taken as they are written: not for writing by many ranks.

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
        scales = {}
        for item, values in schema.coordinates:
            scales[item.name] = _add(file, item)
            _fill(scales[item.name], _array(values, item.dtype))
        for item in (*schema.identity, *schema.results, *schema.pixels):
            made = _add(file, item, chunks if item in schema.pixels else None)
            if item.name in identity:
                _fill(made, identity[item.name].astype(item.dtype))
            elif item.name == "state":
                made[...] = 0
        scales["patch"] = file["patch"]
        _add_stats(file, schema, scales)
        complete = file.create_dataset("complete", shape=(), dtype="u1", data=0)
        complete.attrs["long_name"] = "1 once the run has finished"
        _attach(file, (*schema.identity, *schema.results, *schema.pixels), scales)
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


def _add(file: h5py.Group, item: DataSet, chunks: Chunks | None = None) -> h5py.Dataset:
    """A data set with its attributes."""
    layout = _layout(item, chunks)
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
    if item.name in FLAGS:
        meanings = FLAGS[item.name]
        made.attrs["flag_values"] = np.arange(len(meanings), dtype=np.uint8)
        made.attrs["flag_meanings"] = " ".join(meanings)
    return made


def _array(values: Sequence[object], dtype: str) -> npt.NDArray[Any]:
    return np.array([v.encode() if isinstance(v, str) else v for v in values], dtype)


def _fill(target: h5py.Dataset, values: npt.NDArray[Any]) -> None:
    """Write a whole data set; text as the bytes that it is, which HDF5 would not convert to UTF-8."""
    target.id.write(h5s.ALL, h5s.ALL, np.ascontiguousarray(values), mtype=target.id.get_type())


def stats_names(schema: Schema) -> list[tuple[str, str, int]]:
    """(path below the root, band dimension, number of bands) of the statistics of each pixel data set."""
    return [(f"stats/{item.name}", item.dims[-1], item.shape[-1]) for item in schema.pixels]


def _add_stats(file: h5py.File, schema: Schema, scales: dict[str, h5py.Dataset]) -> None:
    group = file.create_group("stats")
    own = {}
    for name, values in (("split", SPLITS), ("word", ("high", "low"))):
        length = max(map(len, values))
        own[name] = _add(group, DataSet(name, (name,), (len(values),), f"S{length}"))
        _fill(own[name], _array(values, f"S{length}"))
        own[name].make_scale(name)
    for path, band_dim, bands in stats_names(schema):
        for name in STATS:
            item = DataSet(f"{path.split('/')[1]}/{name}", ("split", band_dim, "word"), (len(SPLITS), bands, 2), "<u8")
            group.require_group(path.split("/")[1])
            made = _add(group, item)
            made[...] = 0
            for axis, scale in enumerate((own["split"], scales[band_dim], own["word"])):
                made.dims[axis].attach_scale(scale)


def _attach(file: h5py.File, items: Sequence[DataSet], scales: Mapping[str, h5py.Dataset]) -> None:
    for name, scale in scales.items():
        scale.make_scale(name)
    for item in items:
        for axis, dim in enumerate(item.dims):
            if item.name != dim:
                file[item.name].dims[axis].attach_scale(scales[dim])


class Writer:
    """An existing store, open on all ranks for writing rows. Opening and closing are collective."""

    def __init__(self, path: Path, comm: Any, info: Any, collective: bool) -> None:
        """`comm` and `info` are mpi4py's; `collective` chooses between collective and independent transfers."""
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_LATEST)
        access.set_fclose_degree(h5f.CLOSE_STRONG)
        access.set_fapl_mpio(comm, info)
        self._file = h5f.open(os.fsencode(path), h5f.ACC_RDWR, fapl=access)
        self._sets: dict[str, h5d.DatasetID] = {}
        self._transfer = h5p.create(h5p.DATASET_XFER)
        self._transfer.set_dxpl_mpio(h5fd.MPIO_COLLECTIVE if collective else h5fd.MPIO_INDEPENDENT)
        self._raw = os.open(path, os.O_RDWR)
        self._behind = WriteBehind(self._raw)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Collective where all is well. After an error the others may not come along: the file is left as it is."""
        if error is None:
            self.close()

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Collective: write `rows`, shape (n, ...), to rows [first, first + n) of a data set; n may be 0 on some ranks.

        Raises:
            OSError: this rank's part was not written; the other ranks notice nothing.
        """
        target = self._sets.get(name)
        if target is None:
            target = self._sets[name] = h5d.open(self._file, name.encode())
        space, some = target.get_space(), len(rows) > 0
        memory = h5s.create_simple(rows.shape if some else (1, *rows.shape[1:]))
        if some:
            space.select_hyperslab((first, *(0,) * (rows.ndim - 1)), rows.shape)
        else:
            rows = np.empty((1, *rows.shape[1:]), rows.dtype)
            space.select_none()
            memory.select_none()
        target.write(memory, space, rows, dxpl=self._transfer)
        offset = target.get_offset()
        if offset is not None and some:
            self._behind.add(offset + first * rows[0].nbytes, rows.nbytes)

    def drain(self) -> None:
        """Nothing: rows are written when `write` returns."""

    def sync(self) -> None:
        """Bring what this process has written to the disk."""
        self._behind.sync()

    def close(self) -> None:
        """Collective: close the file."""
        self._sets.clear()
        self._file.close()
        os.close(self._raw)
