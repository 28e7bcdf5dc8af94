"""Write rows of an existing HDF5 store: from all ranks by MPI-IO or by file offset, or compressed by one rank."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5d, h5f, h5fd, h5p, h5s

from etl.exit_status import CollectiveError, JobError
from etl.files import close_synced, pwrite_exact, sync_path
from etl.store.hdf5.file_object import SteadyFile
from etl.store.hdf5.reader import open_hdf5, translated_hdf5_errors
from etl.store.interface import Writer
from etl.store.location import Location, format_of
from etl.store.sync import WriteBehind

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["ChunkedWriter", "Hdf5Writer", "OffsetWriter", "h5py_is_serial", "serial_h5py_problem"]


class Hdf5Writer(Writer):
    """An existing store, open on all ranks for writing rows. Opening and closing are collective."""

    def __init__(self, path: Path, comm: "MPI.Intracomm", info: "MPI.Info | None", collective: bool) -> None:
        """`info`: hints for MPI-IO; `collective`: collective instead of independent transfers.

        Raises:
            OSError: on every rank, if the file cannot be written by one.
            CollectiveError: HDF5 could not open it on this rank.
        """
        self._fd = _open_on_all(path, comm)
        access = h5p.create(h5p.FILE_ACCESS)
        access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_LATEST)
        access.set_fclose_degree(h5f.CLOSE_STRONG)
        access.set_fapl_mpio(comm, info)
        self._transfer = h5p.create(h5p.DATASET_XFER)
        self._transfer.set_dxpl_mpio(h5fd.MPIO_COLLECTIVE if collective else h5fd.MPIO_INDEPENDENT)
        self._collective = collective
        self._behind = WriteBehind(self._fd)
        try:
            self._file = h5f.open(os.fsencode(path), h5f.ACC_RDWR, fapl=access)
            # all at once: after a failed write ROMIO can return other bytes than those of HDF5's metadata
            self._sets = _data_sets(h5py.File(self._file))
        except (OSError, LookupError, RuntimeError, ValueError) as error:
            raise CollectiveError(f"{path} cannot be opened for writing: {error}") from error

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Collective: write `rows`, shape (n, ...), to rows [first, first + n) of a data set; n may be 0 on some ranks.

        Raises:
            OSError: this rank's rows were not written by an independent transfer; other ranks do not raise.
            CollectiveError: they were not written by a collective one; other ranks need not return.
        """
        target = self._sets[name]
        space, some = target.get_space(), len(rows) > 0
        memory = h5s.create_simple(rows.shape if some else (1, *rows.shape[1:]))
        if some:
            space.select_hyperslab((first, *(0,) * (rows.ndim - 1)), rows.shape)
        else:  # h5py skips the collective call for an empty array, and the other ranks would hang
            rows = np.empty((1, *rows.shape[1:]), rows.dtype)
            space.select_none()
            memory.select_none()
        # text as it is: HDF5 would not convert bytes to UTF-8
        kind = target.get_type() if rows.dtype.kind == "S" else None
        try:
            target.write(memory, space, rows, kind, dxpl=self._transfer)
        except OSError as error:
            if self._collective:  # HDF5 then sets the view of the file, also collectively, on the other ranks alone
                raise CollectiveError(f"writing {name} failed: {error}; is the disk full?") from error
            raise
        # only a contiguous array has an offset, which tells where the rows were written
        offset = target.get_offset()
        if offset is not None and some:
            self._behind.add(offset + first * rows[0].nbytes, rows.nbytes)

    def sync(self) -> None:
        """Flush the bytes that this process has written to the disk."""
        self._behind.sync()

    def close(self) -> None:
        """Collective: close the file."""
        self._sets.clear()
        self._file.close()
        close_synced(self._fd)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # A JobError is raised on every rank. After another error the other ranks may not call the collective `close`.
        if kind is None or issubclass(kind, JobError):
            self.close()


def _open_on_all(path: Path, comm: "MPI.Intracomm") -> int:
    """Collective: a descriptor of the file on every rank, before HDF5 begins what only all ranks can end.

    Raises:
        OSError: on every rank, the first error of any.
    """
    fd, problem = -1, ""
    try:
        fd = os.open(path, os.O_RDWR)
    except OSError as error:
        problem = str(error)
    problems = [text for text in comm.allgather(problem) if text]
    if problems:
        if fd >= 0:
            close_synced(fd)
        raise OSError(problems[0])
    return fd


def _data_sets(file: h5py.File) -> dict[str, h5d.DatasetID]:
    """The data sets of the root group by name."""
    items = {name: file[name] for name in file}  # not `items()`, which gives None for what it cannot read
    return {name: item.id for name, item in items.items() if isinstance(item, h5py.Dataset)}


class OffsetWriter(Writer):
    """A contiguous store, written by `pwrite` at the file offsets of its rows, on each rank independently.

    It works without MPI in h5py.
    """

    def __init__(self, path: Path) -> None:
        """Open the store.

        Raises:
            OSError: it cannot be opened.
            ValueError: HDF5's description of it cannot be read.
        """
        with translated_hdf5_errors(), open_hdf5(path) as file:
            self._offsets = {name: item.get_offset() for name, item in _data_sets(file).items()}
        self._fd = os.open(path, os.O_RDWR)
        self._behind = WriteBehind(self._fd)

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Write `rows`, shape (n, ...) in the data set's dtype, to rows [first, first + n) of data set `name`.

        Raises:
            OSError: they were not written, or only in part.
        """
        if not len(rows):
            return
        start, view = self._offsets[name] + first * rows[0].nbytes, memoryview(np.ascontiguousarray(rows)).cast("B")
        pwrite_exact(self._fd, view, start)
        self._behind.add(start, len(view))

    def sync(self) -> None:
        """Flush the bytes that this process has written to the disk."""
        self._behind.sync()

    def close(self) -> None:
        """Close the file."""
        close_synced(self._fd)


class ChunkedWriter(Writer):
    """A store with compressed chunks, open for writing by one process."""

    def __init__(self, path: Path) -> None:
        self._path, self._disk = path, SteadyFile(path)
        self._file = h5py.File(self._disk, "r+", libver=("v108", "latest"))

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Write `rows`, shape (patch, row, col, band), to rows [first, first + n) of a pixel array.

        Raises:
            OSError: they were not written.
        """
        self._file[name][first : first + len(rows)] = rows
        self._disk.raise_error()

    def sync(self) -> None:
        """Flush the bytes that were written to the disk.

        Raises:
            OSError: they are not on the disk.
        """
        self._file.flush()
        self._disk.raise_error()
        sync_path(self._path)

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: bytes were not written.
        """
        self._file.close()
        self._disk.close()


def h5py_is_serial() -> bool:
    """Whether h5py is built without MPI, like the wheels of PyPI."""
    return not h5py.get_config().mpi


def serial_h5py_problem(location: Location, collective: bool, ranks: int) -> str | None:
    """Why `ranks` ranks cannot write the store at `location`, and what to do; None if they can."""
    if format_of(location) != "HDF5" or not collective or ranks == 1 or not h5py_is_serial():
        return None
    return (
        f"--write collective on {ranks} ranks needs an h5py built with MPI, but h5py {h5py.__version__} is built "
        "without: add --write independent, start a single rank, or build h5py against this machine's MPI and HDF5 "
        "(bash deploy/install.sh, or CC=mpicc HDF5_MPI=ON pip install --no-binary h5py h5py)"
    )
