"""Grain on ArrayRecord: one uncompressed record per patch; two batches prefetched by its own threads."""

from collections.abc import Iterator
from pathlib import Path

import grain
import numpy as np
import numpy.typing as npt

from benchmarks.readers.ahead import AHEAD
from benchmarks.readers.array_record_ import reading, write

__all__ = ["batches", "write"]


class _Batches:
    """A data source whose elements are whole batches, so that Grain need not copy patches into a batch."""

    def __init__(self, path: Path, order: npt.NDArray[np.int64]) -> None:
        self._read, self._order = reading(path), order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, step: int) -> npt.NDArray[np.uint16]:
        return self._read(self._order[step])


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order."""
    ahead = grain.ReadOptions(num_threads=AHEAD, prefetch_buffer_size=AHEAD)
    yield from grain.MapDataset.source(_Batches(path, order)).to_iter_dataset(ahead)
