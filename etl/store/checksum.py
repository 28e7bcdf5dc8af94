"""Checksums of a store's rows."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import xxhash

from etl.schema import Schema

__all__ = ["checksum", "zero_row_checksum"]


def checksum(parts: Sequence[npt.NDArray[np.unsignedinteger]]) -> int:
    """XXH3-64 over the bytes of one row's pixel arrays, each contiguous, in the order of `Schema.pixels`."""
    digest = xxhash.xxh3_64()
    for part in parts:
        digest.update(part)
    return digest.intdigest()


def zero_row_checksum(schema: Schema) -> int:
    """Checksum of a rejected row: all of its pixels are 0."""
    return checksum([np.zeros(item.row_shape, item.dtype) for item in schema.pixels])
