"""MosaicML Streaming: uncompressed MDS shards on the local disk; patches are read by number."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from streaming import LocalDataset, MDSWriter

from benchmarks.readers.ahead import ahead

__all__ = ["batches", "write"]


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write shards of the default 64 MiB, without hashes."""
    kind = f"ndarray:uint16:{','.join(map(str, rows.shape[1:]))}"
    with MDSWriter(out=str(path), columns={"pixels": kind}, compression=None, hashes=[]) as writer:
        for row in rows:
            writer.write({"pixels": np.ascontiguousarray(row)})


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, two of them prefetched on threads."""
    dataset = LocalDataset(local=str(path))
    return ahead(lambda rows: np.stack([dataset[row]["pixels"] for row in rows.tolist()]), order)
