"""MPI for the peers: the only module here that imports mpi4py.

`etl.mpi` is imported first, so that the peers use the same settings of Open MPI's I/O as extraction.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etl.mpi import Comm, file_hints
from etl.store.sync import WriteBehind

from mpi4py import MPI  # isort: skip

__all__ = ["SharedFile", "time_slowest", "total", "world", "write_result"]


def world() -> Comm:
    """Communicator of all ranks."""
    return MPI.COMM_WORLD


def write_result(comm: Comm, path: Path, result: Any) -> None:
    """Collective: rank 0 writes a JSON list with the result of each rank."""
    results = comm.gather(result)
    if results is not None:
        path.write_text(json.dumps(results), encoding="utf-8")


def time_slowest(comm: Comm, action: Callable[[], None]) -> float:
    """Collective: seconds that the slowest rank needs for `action`, which all start at the same time."""
    comm.Barrier()
    start = time.perf_counter()
    action()
    return float(comm.allreduce(time.perf_counter() - start, op=MPI.MAX))


def total(comm: Comm, value: float) -> float:
    """Collective: the sum over all ranks."""
    return float(comm.allreduce(value))


class SharedFile:
    """One file open on all ranks through plain MPI-IO, with the hints that extraction uses."""

    def __init__(self, comm: Comm, path: Path) -> None:
        """Collective."""
        self._file = MPI.File.Open(comm, str(path), MPI.MODE_RDWR, file_hints())
        self._raw = os.open(path, os.O_RDWR)
        self._behind = WriteBehind(self._raw)

    def write_all(self, offset: int, rows: Any) -> None:
        """Collective: write an array's bytes at `offset`."""
        self._file.Write_at_all(offset, [rows, rows.nbytes, MPI.BYTE])
        self._behind.add(offset, rows.nbytes)

    def write(self, offset: int, rows: Any) -> None:
        """Write an array's bytes at `offset`, independently of other ranks."""
        self._file.Write_at(offset, [rows, rows.nbytes, MPI.BYTE])
        self._behind.add(offset, rows.nbytes)

    def sync(self) -> None:
        """Flush the bytes that this process has written to the disk, as the store's writer does."""
        self._behind.sync()

    def close(self) -> None:
        """Collective."""
        self._file.Close()
        os.close(self._raw)
