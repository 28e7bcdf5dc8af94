"""Uncompressed shards in a folder, written as their rows lie in memory: no copy, half of TensorStore's CPU time.

Source: Zarr version 3 sharding codec 1.0: chunks, then (offset, bytes) of each as little-endian uint64, then the
CRC-32C of that index; 2^64 - 1 twice for a chunk that is not there.
"""

import os
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

from etl.store.sync import WriteBehind

__all__ = ["write_shard"]

_ABSENT = 2**64 - 1
_PIECE_BYTES = 1 << 23
"""What is written, and then given up from memory, at a time."""


def write_shard(path: Path, rows: npt.NDArray[Any], shard_rows: int, chunk_rows: int) -> None:
    """Write one shard of `rows`, shape (n, ...), contiguous; n below `shard_rows` only at the end of an array.

    It is written under a temporary name, then renamed; nothing is synced.

    Raises:
        OSError: the disk is full, or the folder cannot be written to.
    """
    temporary = path.with_name(path.name + ".part")
    missing = -len(rows) % chunk_rows
    chunks = (len(rows) + missing) // chunk_rows
    chunk_bytes = chunk_rows * rows[0].nbytes
    index = np.full((shard_rows // chunk_rows, 2), _ABSENT, "<u8")
    index[:chunks, 0], index[:chunks, 1] = np.arange(chunks) * chunk_bytes, chunk_bytes
    end = index.tobytes()
    end += google_crc32c.value(end).to_bytes(4, "little")
    try:
        with temporary.open("wb", buffering=0) as file:
            behind, place = WriteBehind(file.fileno()), 0
            for part in (memoryview(rows).cast("B"), bytes(missing * rows[0].nbytes) + end):
                left = memoryview(part)
                while len(left):
                    done = os.write(file.fileno(), left[:_PIECE_BYTES])
                    behind.add(place, done)
                    left, place = left[done:], place + done
        temporary.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
