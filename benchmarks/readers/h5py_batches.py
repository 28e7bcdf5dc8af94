"""h5py by whole batches: one call reads the rows of a batch in ascending order; then they are put in order."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.readers.ahead import ahead

__all__ = ["batches"]


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, two of them prefetched on threads."""
    with h5py.File(path, "r") as file:
        array = file["data_super"]

        def read(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
            sorted_rows = np.argsort(rows)
            out = np.empty((len(rows), *array.shape[1:]), np.uint16)
            out[sorted_rows] = array[rows[sorted_rows]]
            return out

        yield from ahead(read, order)
