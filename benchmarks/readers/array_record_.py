"""ArrayRecord, the format of Grain: one uncompressed record per patch; batches by its own threads."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordWriter

from benchmarks.readers.ahead import ahead

__all__ = ["batches", "reading", "write"]


def write(path: Path, rows: npt.NDArray[np.uint16], order: npt.NDArray[np.int64]) -> None:
    """Write one file, with groups of one record."""
    writer = ArrayRecordWriter(str(path), "group_size:1,uncompressed")
    for row in rows:
        writer.write(row.tobytes())
    writer.close()
    np.save(path.with_suffix(".shape.npy"), rows.shape[1:])


def reading(path: Path) -> Callable[[npt.NDArray[np.int64]], npt.NDArray[np.uint16]]:
    """Function that reads the rows of a batch, given their numbers."""
    shape = np.load(path.with_suffix(".shape.npy")).tolist()
    source = ArrayRecordDataSource(str(path))

    def read(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
        out = np.empty((len(rows), *shape), np.uint16)
        for k, raw in enumerate(source.__getitems__(rows.tolist())):
            out[k] = np.frombuffer(raw, np.uint16).reshape(shape)
        return out

    return read


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, two of them prefetched on threads."""
    return ahead(reading(path), order)
