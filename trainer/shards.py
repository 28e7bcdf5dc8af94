"""Pixel rows of a Zarr store by TensorStore, which reads and unpacks the chunks of a batch side by side.

Loaded only where a Zarr store is named.
"""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from etl.store.objects import context, explain, load, spec_of

__all__ = ["load", "read"]


_CACHE_BYTES = 64 << 20


@cache
def _shared() -> ts.Context:
    return context(cache_bytes=_CACHE_BYTES)


@cache
def _opened(path: Path, name: str) -> Any:
    """A pixel array; what was read once of a complete store, indexes of shards above all, is not looked up again."""
    spec: dict[str, Any] = {"driver": "zarr3", "kvstore": spec_of(path / name)}
    spec |= {"recheck_cached_metadata": "open", "recheck_cached_data": "open"}
    return ts.open(spec, open=True, context=_shared(), dtype=ts.uint16).result()


def read(path: Path, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
    """Fill `out`, shape (patch, row, col, band), with patches `rows` of the pixel array `name`, in their order.

    Raises:
        OSError: a shard is torn, or cannot be reached.
    """
    try:
        ts.array(out).write(_opened(path, name)[rows]).result()
    except (ValueError, NotImplementedError) as error:
        raise explain(error, path) from None
