"""Read the metadata of a Zarr store, and refuse what its readers would follow, guess or allocate unasked.

The root's consolidated metadata decide. TensorStore, which reads an array's own `zarr.json`, is given them too and
refuses to open an array of which the two say different things.

Source: Zarr version 3 specification; zarr-python, consolidated metadata.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["ArrayMetadata", "StoreMetadata", "is_pixels", "parse_metadata"]

_MOST_BYTES = 64 << 20
"""Size of the root's metadata; that of a store has 60 kB."""

_MOST_MEMBERS = 10_000
"""Members of a store; one has fewer than a hundred."""

_MOST_COLUMN_BYTES = 4 << 30
"""Bytes of an array other than pixels, which is read into memory as a whole."""

_MOST_CHUNK_BYTES = 1 << 30
"""Bytes of a decompressed chunk of pixels, the smallest piece that is read."""

_NAME = re.compile(r"\w[\w .+-]*(/\w[\w .+-]*)*")
"""Name of a member: no part is empty, `.` or `..`, none begins at the root."""

_DECIDING = ("zarr_format", "shape", "data_type", "chunk_grid", "chunk_key_encoding", "codecs", "fill_value")
"""Metadata of an array that decide what its bytes mean."""

_NUMBERS = re.compile(r"u?int(8|16|32|64)|float(32|64)")

_TEXT = "string"

_COLUMN_CODECS = ("bytes", "vlen-utf8", "zstd", "blosc", "crc32c")
"""Codecs of an array other than pixels, each of which states its decompressed size."""

_PIXEL_CODECS = ("bytes", "zstd", "blosc", "crc32c", "gzip", "transpose", "sharding_indexed")
"""Codecs of pixels, which TensorStore has."""


class ArrayMetadata(NamedTuple):
    """Metadata of one array."""

    shape: tuple[int, ...]
    """Length along each axis."""

    chunk_shape: tuple[int, ...]
    """Shape of one file or object: of a shard, or of a chunk without shards."""

    item_bytes: int
    """Size of one value in bytes; 0 for text of variable length."""

    codecs: tuple[str, ...]
    """Names of its codecs, outermost last."""

    entry: Mapping[str, Any]
    """As in the file."""

    @property
    def for_tensorstore(self) -> dict[str, Any]:
        """What an array must say of itself where TensorStore opens it."""
        return {key: self.entry[key] for key in _DECIDING}


class StoreMetadata(NamedTuple):
    """Metadata of a store."""

    attributes: dict[str, Any]
    """Attributes of the root."""

    arrays: dict[str, ArrayMetadata]
    """Every array by name."""


def is_pixels(name: str) -> bool:
    """Whether an array is of pixels, which are never read into memory as a whole."""
    return name.startswith("data_")


def parse_metadata(data: bytes) -> StoreMetadata:
    """The metadata in the bytes of the root's `zarr.json`.

    Raises:
        ValueError: they are not those of a store of Zarr version 3 with consolidated metadata, or name something that
            is not read.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"its zarr.json must have at most {_MOST_BYTES} bytes, got {len(data)}")
    try:
        root = json.loads(data)
    except (ValueError, RecursionError) as error:  # the last: brackets within brackets
        raise ValueError(f"its zarr.json must be JSON: {error}") from None
    if not isinstance(root, dict) or root.get("node_type") != "group" or root.get("zarr_format") != 3:
        raise ValueError("its zarr.json must be of a group of Zarr version 3")
    consolidated = root.get("consolidated_metadata")
    members = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(members, dict):
        raise ValueError("it must be a store of etl.extract; its zarr.json lists no arrays")
    if len(members) > _MOST_MEMBERS:
        raise ValueError(f"its zarr.json must list at most {_MOST_MEMBERS} members, got {len(members)}")
    arrays = {}
    for name, entry in members.items():
        try:
            if (array := _parse_member(name, entry)) is not None:
                arrays[name] = array
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"its zarr.json, member {name[:80]!r}: {reason}") from None
    return StoreMetadata(_attributes(root), arrays)


def _parse_member(name: str, entry: Any) -> ArrayMetadata | None:
    """One array, checked; None for a group."""
    if not _NAME.fullmatch(name):
        raise ValueError("a member must be named by words, with / between them alone")
    if entry.get("node_type") == "group":
        if (entry.get("consolidated_metadata") or {}).get("metadata"):
            raise ValueError("a group in it must list no members of its own")
        return None
    if entry["node_type"] != "array" or entry["zarr_format"] != 3:
        raise ValueError("it must be an array or a group of Zarr version 3")
    if entry.get("storage_transformers"):
        raise ValueError(f"it must have no storage transformers, got {str(entry['storage_transformers'])[:80]}")
    if entry["chunk_key_encoding"] != {"name": "default", "configuration": {"separator": "."}}:
        raise ValueError(f"its chunks must be named c.0, c.1, ..., got {str(entry['chunk_key_encoding'])[:80]}")
    if entry["chunk_grid"]["name"] != "regular":
        raise ValueError(f"its chunks must be of one shape, got the grid {str(entry['chunk_grid'])[:80]}")
    shape, chunk_shape = _lengths(entry["shape"], 0), _lengths(entry["chunk_grid"]["configuration"]["chunk_shape"], 1)
    dimensions = entry.get("dimension_names") or [None] * len(shape)
    if not len(shape) == len(chunk_shape) == len(dimensions):
        raise ValueError(f"its shape, chunks and dimensions must agree, got {shape}, {chunk_shape} and {dimensions}")
    if not all(dim is None or isinstance(dim, str) for dim in dimensions):
        raise ValueError(f"its dimensions must be names, got {str(dimensions)[:80]}")
    _attributes(entry)
    item_bytes, (codecs, inner) = _item_bytes(entry["data_type"]), _codecs(entry["codecs"])
    array = ArrayMetadata(shape, chunk_shape, item_bytes, codecs, entry)
    (_check_pixels if is_pixels(name) else _check_column)(array, inner)
    return array


def _check_pixels(array: ArrayMetadata, inner: tuple[int, ...] | None) -> None:
    """Raise a ValueError if an array of pixels is of another kind than is read; `inner`: chunks within a shard."""
    chunk = array.chunk_shape if inner is None else inner
    if len(chunk) != len(array.shape) or any(
        outer % part for outer, part in zip(array.chunk_shape, chunk, strict=True)
    ):
        raise ValueError(f"its shards of {array.chunk_shape} must hold whole chunks, got {chunk}")
    if not array.item_bytes or math.prod(chunk) * array.item_bytes > _MOST_CHUNK_BYTES:
        raise ValueError(f"its chunks must be of numbers, at most {_MOST_CHUNK_BYTES} bytes each, got shape {chunk}")
    if array.entry["fill_value"] != 0:
        raise ValueError(f"its fill_value must be 0, got {array.entry['fill_value']!r}")
    unknown = [name for name in array.codecs if name not in _PIXEL_CODECS]
    if unknown:
        raise ValueError(f"its codecs must be of {', '.join(_PIXEL_CODECS)}, got {', '.join(unknown)}")


def _check_column(array: ArrayMetadata, inner: tuple[int, ...] | None) -> None:
    """Raise a ValueError if an array other than pixels is not one chunk, or too large for memory."""
    unknown = [name for name in array.codecs if name not in _COLUMN_CODECS]
    if unknown:
        raise ValueError(f"its codecs must be of {', '.join(_COLUMN_CODECS)}, got {', '.join(unknown)}")
    if array.chunk_shape != tuple(max(1, length) for length in array.shape):
        raise ValueError(f"it must be one chunk of its shape {array.shape}, got chunks of {array.chunk_shape}")
    claimed = math.prod(array.shape) * max(1, array.item_bytes)
    if claimed > _MOST_COLUMN_BYTES:
        raise ValueError(f"it must have at most {_MOST_COLUMN_BYTES} bytes, got shape {array.shape} of {claimed} bytes")


def _lengths(stated: Any, least: int) -> tuple[int, ...]:
    """Lengths along axes, each at least `least`."""
    lengths = tuple(stated)
    if not all(type(length) is int and least <= length < 2**63 for length in lengths):
        raise ValueError(f"lengths must be whole numbers of at least {least}, got {str(stated)[:80]}")
    return lengths


def _item_bytes(data_type: Any) -> int:
    """Size of a value in bytes; 0 for text of variable length."""
    if data_type == _TEXT:
        return 0
    if isinstance(data_type, dict) and data_type.get("name") == "null_terminated_bytes":  # text of release 0.2.0
        (length,) = _lengths([data_type["configuration"]["length_bytes"]], 1)
        return length
    if not isinstance(data_type, str) or not _NUMBERS.fullmatch(data_type):
        raise ValueError(f"its data type must be of numbers or text, got {str(data_type)[:80]}")
    return np.dtype(data_type).itemsize


def _codecs(stated: Any) -> tuple[tuple[str, ...], tuple[int, ...] | None]:
    """Names of all codecs, those within shards too, and the shape of the chunks within a shard, None without shards."""
    names, inner = [], None
    for codec in stated:
        name = codec["name"]
        if not isinstance(name, str):
            raise ValueError(f"its codecs must have names, got {str(name)[:80]}")
        names.append(name)
        if name == "sharding_indexed":
            settings = codec["configuration"]
            inner = _lengths(settings["chunk_shape"], 1)
            within = [part["name"] for part in (*settings["codecs"], *settings["index_codecs"])]
            if "sharding_indexed" in within or not all(isinstance(part, str) for part in within):
                raise ValueError("its shards must hold chunks, not shards")
            names += within
    return tuple(names), inner


def _attributes(entry: Mapping[str, Any]) -> dict[str, Any]:
    attributes = entry.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise ValueError(f"attributes must be named, got {str(attributes)[:80]}")
    return attributes
