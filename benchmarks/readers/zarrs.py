"""zarr-python on this project's Zarr shards, with the codecs of zarrs (Rust)."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import zarr

from benchmarks.readers import zarr_python

__all__ = ["batches"]


def batches(path: Path, order: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches in the given order, two of them prefetched on threads."""
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        yield from zarr_python.batches(path, order)
