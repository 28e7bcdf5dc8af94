"""Make the bytes of an object unique without changing what any reader finds in it.

Source: Zarr version 3 sharding codec 1.0 (the index gives offsets, so bytes between chunks belong to none); RFC 8878,
3.1.2, skippable frames; RFC 8259 (JSON).
"""

import json
import secrets
import struct
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt

__all__ = ["empty_shard", "mark_csv", "mark_json", "mark_shard", "mark_zstd", "shard_index"]

_MARK_BYTES = 16
_MISSING_CHUNK = 2**64 - 1
_ZSTD_FRAME = struct.pack("<I", 0xFD2FB528)
_SKIPPABLE_FRAME = struct.pack("<II", 0x184D2A50, _MARK_BYTES)


def shard_index(entries: npt.NDArray[np.uint64]) -> bytes:
    """The index at the end of a shard: (offset, bytes) of each chunk, shape (chunk, 2), and a checksum."""
    raw = entries.astype("<u8").tobytes()
    return raw + struct.pack("<I", google_crc32c.value(raw))


def empty_shard(chunks: int) -> bytes:
    """A shard of `chunks` chunks that are all missing, so that all its values are 0."""
    return shard_index(np.full((chunks, 2), _MISSING_CHUNK, np.uint64))


def mark_shard(data: bytes, chunks: int) -> bytes:
    """The shard `data` of `chunks` chunks with random bytes before its index; earlier ones are replaced.

    A shard whose index is damaged stays so.
    """
    mark, start = secrets.token_bytes(_MARK_BYTES), len(data) - 16 * chunks - 4
    index = data[max(0, start) :]
    if start < 0 or shard_index(entries := np.frombuffer(index[:-4], "<u8").reshape(-1, 2)) != index:
        return data + mark
    stop = max((offset + length for offset, length in entries.tolist() if offset != _MISSING_CHUNK), default=0)
    return b"".join((memoryview(data)[: min(stop, start)], mark, index))  # one copy of up to 60 MiB


def mark_zstd(data: bytes) -> bytes:
    """A Zstandard frame followed by a skippable frame of random bytes; an earlier one is replaced.

    Raises:
        ValueError: `data` is no such frame.
    """
    if not data.startswith(_ZSTD_FRAME):
        raise ValueError(f"it must be compressed by zstd, but begins with {data[:4]!r}")
    tail = len(_SKIPPABLE_FRAME) + _MARK_BYTES
    if data[-tail:].startswith(_SKIPPABLE_FRAME):
        data = data[:-tail]
    return data + _SKIPPABLE_FRAME + secrets.token_bytes(_MARK_BYTES)


def mark_csv(data: bytes) -> bytes:
    """CSV with blank lines at its end, which readers pass over; each ends at random in one of two ways."""
    bits = secrets.randbits(8 * _MARK_BYTES)
    return data + b"".join((b"\n", b"\r\n")[bits >> k & 1] for k in range(8 * _MARK_BYTES))


def mark_json(data: bytes | None, key: str) -> bytes:
    """A JSON object with a random value under `key`; what is no JSON object becomes one with this key alone."""
    try:
        found: Any = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        found = {}
    marked = {**(found if isinstance(found, dict) else {}), key: secrets.token_hex(_MARK_BYTES)}
    return (json.dumps(marked, indent=1) + "\n").encode()
