"""LMDB with one safetensors value a patch, as reBEN's converter lays BigEarthNet out."""

from collections.abc import Iterator
from pathlib import Path

import lmdb
import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from benchmarks.readers.ahead import ahead

__all__ = ["batches", "write"]


def write(place: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """One environment, key: row."""
    with lmdb.open(str(place), map_size=2 * rows.nbytes + (64 << 20)) as base:
        for first in range(0, len(rows), 64):
            with base.begin(write=True) as writing:
                for row in range(first, min(first + 64, len(rows))):
                    writing.put(b"%08d" % row, save({"pixels": rows[row]}))


def batches(place: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Two batches ahead on threads; no lock, reading ahead by the system, values as views of the map."""
    with lmdb.open(str(place), readonly=True, lock=False, readahead=True, meminit=False) as base:

        def read(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
            with base.begin(buffers=True) as reading:
                return np.stack([load(bytes(reading.get(b"%08d" % row)))["pixels"] for row in rows.tolist()])

        yield from ahead(read, order)
