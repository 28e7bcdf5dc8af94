"""The trainer's stream on uncompressed Zarr shards."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.readers.ours_hdf5 import batches
from benchmarks.readers.stores import make_store

__all__ = ["batches", "write"]


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write a store."""
    make_store(path, rows)
