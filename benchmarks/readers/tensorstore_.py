"""TensorStore on this project's Zarr shards: one indexed read per batch."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from benchmarks.readers.ahead import ahead

__all__ = ["batches"]

_CACHE_BYTES = 64 << 20


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, two of them prefetched on threads."""
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path / 'data_super'}/"}}
    spec |= {"recheck_cached_data": "open"}
    array = ts.open(spec, context=ts.Context({"cache_pool": {"total_bytes_limit": _CACHE_BYTES}})).result()
    return ahead(lambda rows: array[rows].read().result(), order)
