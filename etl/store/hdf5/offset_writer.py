"""Writing rows of a contiguous HDF5 store by `pwrite` at the offsets HDF5 gave them: it needs no MPI in h5py."""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from etl.store.location import format_of
from etl.store.sync import WriteBehind

__all__ = ["OffsetWriter", "h5py_is_serial", "serial_h5py_problem"]


def h5py_is_serial() -> bool:
    """Whether h5py is built without MPI, as PyPI's wheels are."""
    return not h5py.get_config().mpi


class OffsetWriter:
    """An existing store, open for writing rows; each rank opens and writes it independently of the others."""

    def __init__(self, path: Path) -> None:
        with h5py.File(path, "r") as file:
            sets = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
            self._offsets = {name: item.id.get_offset() for name, item in sets.items()}
        self._raw = os.open(path, os.O_RDWR)
        self._behind = WriteBehind(self._raw)

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Write `rows`, shape (n, ...) in the data set's dtype, to rows [first, first + n) of data set `name`.

        Raises:
            OSError: they were not written, or only in part.
        """
        if not len(rows):
            return
        start, view = self._offsets[name] + first * rows[0].nbytes, memoryview(np.ascontiguousarray(rows)).cast("B")
        done = 0
        while done < len(view):  # Linux writes at most 2 GiB a call
            done += os.pwrite(self._raw, view[done:], start + done)
        self._behind.add(start, len(view))

    def drain(self) -> None:
        """Nothing: rows are written when `write` returns."""

    def sync(self) -> None:
        """Bring what this process has written to the disk."""
        self._behind.sync()

    def close(self) -> None:
        """Close the file."""
        os.close(self._raw)

    def __enter__(self) -> "OffsetWriter":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def serial_h5py_problem(path: Path, collective: bool, ranks: int) -> str | None:
    """Why `ranks` ranks cannot write the store at `path`, and what to do; None where they can."""
    if format_of(path) != "HDF5" or not collective or ranks == 1 or not h5py_is_serial():
        return None
    return (
        f"--write collective on {ranks} ranks needs an h5py built with MPI, but h5py {h5py.__version__} is built "
        "without: add --write independent, start a single rank, or build h5py against this machine's MPI and HDF5 "
        "(bash deploy/install.sh, or CC=mpicc HDF5_MPI=ON pip install --no-binary h5py h5py)"
    )
