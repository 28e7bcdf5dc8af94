"""Read the metadata of a Zarr store, and its arrays other than pixels, into memory."""

import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.store.location import Location
from etl.store.object_store import read_objects
from etl.store.zarr.metadata import ArrayMetadata, StoreMetadata, is_pixels, parse_metadata
from etl.store.zarr.own_files import require_own_files
from etl.store.zarr.text import UTF8, TextArray

__all__ = [
    "RESERVED",
    "ROOT_NAMES",
    "ZARR_ROOT",
    "ZarrGroup",
    "chunk_key",
    "is_reserved",
    "load_group",
    "read_columns",
    "read_strings",
    "touched_keys",
]

ZARR_ROOT = "zarr.json"
"""Name of the object with the metadata of all arrays."""

ROOT_NAMES = (ZARR_ROOT, ".zgroup", ".zarray")
"""Names of the root of a Zarr store of version 3, and of version 2."""

_COMPARED = ("shape", "data_type", "chunk_grid", "fill_value")
"""Metadata in which an array's own must equal the root's. Codecs have several spellings: TensorStore compares them."""

_ZSTD_START = b"\x28\xb5\x2f\xfd"


RESERVED = "reserved"
"""Key by which the root object of a store that is not yet created is known."""


def is_reserved(root: bytes) -> bool:
    """Whether a root object only keeps its place: there is no store."""
    return len(root) < 1000 and f'"{RESERVED}"'.encode() in root and b'"node_type"' not in root


def chunk_key(name: str, index: tuple[int, ...]) -> str:
    """Name of the object with the bytes of chunk or shard `index`, one number an axis, of the array `name`."""
    return f"{name}/" + ".".join(map(str, ("c", *index)))


def touched_keys(name: str, array: ArrayMetadata, rows: npt.NDArray[np.int64]) -> Iterator[str]:
    """Names of the objects that hold `rows`, shape (row,), of the array `name`."""
    others = [range(-(-length // chunk)) for length, chunk in zip(array.shape, array.chunk_shape, strict=True)][1:]
    for shard in np.unique(rows // array.chunk_shape[0]).tolist():
        yield from (chunk_key(name, index) for index in product([shard], *others))


class ZarrGroup(NamedTuple):
    """A store without the values of its arrays."""

    attributes: dict[str, Any]
    """Attributes of the root group."""

    arrays: dict[str, Any]
    """Every array by name, e.g. `data_10m`, `stats/data_10m/sum`: a `zarr.Array`, or a `TextArray` for both of text.

    Of each, shape, dtype and attributes can be read."""

    metadata: Mapping[str, ArrayMetadata]
    """Metadata of every array by name, of text both."""

    objects: dict[str, Any]
    """What the arrays are read from: the bytes of objects by key."""


def load_group(location: Location) -> ZarrGroup:
    """The store at `location`, no member of which leads out of it.

    Raises:
        ValueError: there is no Zarr version 3 store with consolidated metadata, or it names something that is not read.
        OSError: it cannot be read.
    """
    require_own_files(location, ROOT_NAMES)
    root, *older = read_objects(location, ROOT_NAMES).values()
    if root is None and any(data is not None for data in older):
        raise ValueError(f"{location} must be a Zarr store of version 3, as etl.extract makes it; it is of version 2")
    if root is None or is_reserved(root):
        raise ValueError(f"{location} must be a Zarr store of etl.extract; it has no {ZARR_ROOT}")
    try:
        metadata = parse_metadata(root)
        _check_text(metadata.arrays)
        objects = {ZARR_ROOT: default_buffer_prototype().buffer.from_bytes(root)}
        arrays = _open_arrays(objects)
    except ValueError as error:
        raise ValueError(f"{location}: {error}") from None
    _check_own_metadata(location, metadata)
    texts = {name: TextArray(arrays[name], arrays[UTF8 + name]) for name in arrays if UTF8 + name in arrays}
    seen = {name: array for name, array in arrays.items() if not name.startswith(UTF8)}
    return ZarrGroup(metadata.attributes, seen | texts, metadata.arrays, objects)


def _open_arrays(objects: dict[str, Any]) -> dict[str, Any]:
    """Every array by name, open in zarr-python on `objects`."""
    with warnings.catch_warnings():
        # text of older stores, and consolidated metadata, are extensions of the specification
        warnings.simplefilter("ignore")
        try:
            group = zarr.open_group(MemoryStore(objects), mode="r", zarr_format=3, use_consolidated=True)
            return {name: item for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array)}
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
            raise ValueError(f"its {ZARR_ROOT} must be as the specification has it: {error}") from None


def _check_text(arrays: Mapping[str, ArrayMetadata]) -> None:
    """Raise a ValueError if an array of text has no array of its bytes, or one of another shape."""
    for name, array in arrays.items():
        twin = arrays.get(UTF8 + name)
        if array.item_bytes == 0 and twin is None:
            raise ValueError(f"{name} must have its text as bytes in {UTF8}{name}, which is missing")
        if twin is not None and (twin.shape[:-1] != array.shape or twin.item_bytes != 1 or not twin.shape[-1]):
            raise ValueError(f"{UTF8}{name} must hold the bytes of {name}, of shape {array.shape}, got {twin.shape}")


def _check_own_metadata(location: Location, store: StoreMetadata) -> None:
    """Raise a ValueError if a pixel array says something else of itself than the root does.

    It need not say anything: a run in a bucket that was killed while it created the store leaves some without.
    """
    keys = {name: f"{name}/{ZARR_ROOT}" for name in store.arrays if is_pixels(name)}
    require_own_files(location, keys.values())
    found = read_objects(location, keys.values())
    for name, key in keys.items():
        data = found[key]
        if data is None:
            continue
        try:
            own = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{location}: {key} must be JSON: {error}") from None
        stated = store.arrays[name].entry
        differing = [part for part in _COMPARED if not isinstance(own, dict) or own.get(part) != stated.get(part)]
        if differing:
            differ = f"they differ in {', '.join(differing)}"
            raise ValueError(f"{location}: {key} must say the same of {name} as {ZARR_ROOT}, but {differ}")


def read_columns(location: Location, group: ZarrGroup, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """Whole arrays other than pixels of the store at `location`, by name, in their stored shape and dtype.

    Raises:
        KeyError: the store has none of that name.
        ValueError: bytes of an array are not what was written.
        OSError: one cannot be read.
    """
    names = tuple(names)
    stored = {name: UTF8 + name if UTF8 + name in group.metadata else name for name in names}
    keys = {name: chunk_key(part, (0,) * len(group.metadata[part].shape)) for name, part in stored.items()}
    require_own_files(location, keys.values())
    data = read_objects(location, keys.values())
    columns = {}
    for name, key in keys.items():
        _check_size(key, data[key], group.metadata[stored[name]])
        columns[name] = _decode(group, key, data[key], group.arrays[name])
    return columns


def read_strings(location: Location, group: ZarrGroup, name: str) -> list[str] | None:
    """The values of the array of text `name` in its copy of strings, in its order; None if there is no such copy.

    Raises:
        ValueError: its bytes are not what was written.
        OSError: it cannot be read.
    """
    twin, array = group.metadata.get(UTF8 + name), group.metadata[name]
    if twin is None:
        return None
    if not math.prod(array.shape):
        return []
    key = chunk_key(name, (0,) * len(array.shape))
    require_own_files(location, [key])
    data = read_objects(location, [key])[key]
    # the number of texts and the length of each have 4 bytes; a byte that is no UTF-8 became a character of 3 bytes
    most, stated = 4 + math.prod(array.shape) * (4 + 3 * twin.shape[-1]), _stated_bytes(data or b"", array)
    if data is None or stated is None or stated > most:
        raise ValueError(f"{key} must be there and hold at most {most} bytes once it is decompressed, got {stated}")
    return list(map(str, _decode(group, key, data, group.arrays[name].strings).ravel().tolist()))


def _decode(group: ZarrGroup, key: str, data: bytes | None, array: Any) -> npt.NDArray[Any]:
    """The values of an array of `group`, whose one object, named `key`, holds `data`."""
    if data is not None:
        group.objects[key] = default_buffer_prototype().buffer.from_bytes(data)
    try:
        return np.asarray(array[...])
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{key} must be whole: {error}") from None
    finally:
        group.objects.pop(key, None)


def _check_size(key: str, data: bytes | None, array: ArrayMetadata) -> None:
    """Raise a ValueError if the object `key` is missing, or its bytes would not become the whole array."""
    if not math.prod(array.shape):
        return
    if data is None:
        raise ValueError(f"{key} must be there, and is missing")
    stated, expected = _stated_bytes(data, array), math.prod(array.chunk_shape) * array.item_bytes
    if stated != expected:
        raise ValueError(f"{key} must hold {expected} bytes once it is decompressed, got {stated}")


def _stated_bytes(data: bytes, array: ArrayMetadata) -> int | None:
    """Size of a chunk of `array` once it is decompressed, as its bytes `data` state it; None if they state none."""
    codecs = array.codecs
    if codecs[-1] == "crc32c":
        data, codecs = data[:-4], codecs[:-1]
    if codecs[-1] == "zstd":
        return _zstd_bytes(data)
    return int.from_bytes(data[4:8], "little") if codecs[-1] == "blosc" else len(data)


def _zstd_bytes(data: bytes) -> int | None:
    """Decompressed size that the header of a Zstandard frame states; None if it states none, or is none.

    Source: RFC 8878, section 3.1.1.1.
    """
    if data[:4] != _ZSTD_START or len(data) < 6:
        return None
    size_flag, single_segment, dictionary_flag = data[4] >> 6, data[4] >> 5 & 1, data[4] & 3
    if not (size_flag or single_segment):
        return None
    start = 5 + (1 - single_segment) + (0, 1, 2, 4)[dictionary_flag]
    length = (1, 2, 4, 8)[size_flag]
    return int.from_bytes(data[start : start + length], "little") + (256 if size_flag == 1 else 0)
