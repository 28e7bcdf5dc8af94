"""LitData: optimised, uncompressed chunks on the local disk; patches are read by number."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from litdata import StreamingDataset
from litdata.streaming.writer import BinaryWriter

__all__ = ["batches", "write"]


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write chunks of 64 MiB with the writer that `litdata.optimize` uses."""
    writer = BinaryWriter(str(path), chunk_bytes=64 << 20)
    for number, row in enumerate(rows):
        writer[number] = row.tobytes()
    writer.done()
    writer.merge()
    np.save(path.with_suffix(".shape.npy"), rows.shape[1:])


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, on one thread, because LitData's table of mapped chunks is not thread-safe."""
    shape = np.load(path.with_suffix(".shape.npy")).tolist()
    dataset = StreamingDataset(str(path), shuffle=False)
    for rows in order.tolist():
        yield np.stack([np.frombuffer(dataset[row], np.uint16).reshape(shape) for row in rows])
