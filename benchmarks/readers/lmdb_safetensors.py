"""LMDB with one safetensors value per patch, the format of reBEN's converter of BigEarthNet."""

from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from benchmarks.readers.ahead import ahead

__all__ = ["batches", "write"]


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write one LMDB environment; the keys are row numbers."""
    with lmdb.open(str(path), map_size=2 * rows.nbytes + (64 << 20)) as base:
        for first in range(0, len(rows), 64):
            with base.begin(write=True) as writing:
                for row in range(first, min(first + 64, len(rows))):
                    writing.put(b"%08d" % row, save({"pixels": rows[row]}))


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, two of them prefetched on threads; without a lock, values as views of the map."""
    with lmdb.open(str(path), readonly=True, lock=False, readahead=True, meminit=False) as base:

        def read(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
            with base.begin(buffers=True) as reading:
                return np.stack([load(bytes(reading.get(b"%08d" % row)))["pixels"] for row in rows.tolist()])

        yield from ahead(read, order)
