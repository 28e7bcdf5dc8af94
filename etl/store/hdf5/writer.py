"""Write rows of an existing HDF5 store from all ranks, with MPI-IO."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5d, h5f, h5fd, h5p, h5s

from etl.store.sync import WriteBehind

__all__ = ["Hdf5Writer"]


class Hdf5Writer:
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

    def __enter__(self) -> "Hdf5Writer":
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
