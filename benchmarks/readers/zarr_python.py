"""zarr-python on this project's Zarr shards, with its own codecs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from benchmarks.readers.ahead import ahead

__all__ = ["batches"]


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, two of them prefetched on threads."""
    array: Any = zarr.open_array(path / "data_super", mode="r")
    return ahead(lambda rows: array.oindex[rows], order)
