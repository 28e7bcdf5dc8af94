"""Read the metadata of a Zarr store, and its arrays other than pixels, into memory."""

import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.store.location import Location
from etl.store.object_store import read_objects
from etl.store.zarr.text import UTF8, TextArray

__all__ = [
    "RESERVED",
    "ROOT_NAMES",
    "ZARR_ROOT",
    "ZarrGroup",
    "chunk_key",
    "is_pixels",
    "is_reserved",
    "load_group",
]

ZARR_ROOT = "zarr.json"
"""Name of the object with the metadata of all arrays."""

ROOT_NAMES = (ZARR_ROOT, ".zgroup", ".zarray")
"""Names of the root of a Zarr store of version 3, and of version 2."""


RESERVED = "reserved"
"""Key by which the root object of a store that is not yet created is known."""


def is_reserved(root: bytes) -> bool:
    """Whether a root object only keeps its place: there is no store."""
    return len(root) < 1000 and f'"{RESERVED}"'.encode() in root and b'"node_type"' not in root


def chunk_key(name: str, index: tuple[int, ...]) -> str:
    """Name of the object with the bytes of chunk or shard `index`, one number an axis, of the array `name`."""
    return f"{name}/" + ".".join(map(str, ("c", *index)))


def is_pixels(name: str) -> bool:
    """Whether an array is of pixels, which are never read into memory as a whole."""
    return name.startswith("data_")


class ZarrGroup(NamedTuple):
    """Metadata of a store, and the values of some of its arrays."""

    attributes: dict[str, Any]
    """Attributes of the root group."""

    arrays: dict[str, Any]
    """Every array by name, e.g. `data_10m`, `stats/data_10m/sum`: a `zarr.Array`, or a `TextArray` for both of text."""


def load_group(location: Location, names: Iterable[str] | None = None) -> ZarrGroup:
    """The store at `location` with the values of the arrays `names` in memory, by default of all but pixel arrays.

    Of other arrays shape, dtype and attributes can be read, values cannot.

    Raises:
        ValueError: there is no Zarr version 3 store with consolidated metadata.
        OSError: it cannot be read.
    """
    root, *older = read_objects(location, ROOT_NAMES).values()
    if root is None and any(data is not None for data in older):
        raise ValueError(f"{location} must be a Zarr store of version 3, as etl.extract makes it; it is of version 2")
    if root is None or is_reserved(root):
        raise ValueError(f"{location} must be a Zarr store of etl.extract; it has no {ZARR_ROOT}")
    to_buffer = default_buffer_prototype().buffer.from_bytes
    objects = {ZARR_ROOT: to_buffer(root)}
    with warnings.catch_warnings():
        # text of older stores, and consolidated metadata, are extensions of the specification
        warnings.simplefilter("ignore")
        group = zarr.open_group(MemoryStore(objects), mode="r", zarr_format=3, use_consolidated=None)
        if group.metadata.consolidated_metadata is None:
            raise ValueError(f"{location} must be a store of etl.extract; its {ZARR_ROOT} lists no arrays")
        arrays = {name: item for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array)}
    loaded = [name for name in arrays if not is_pixels(name)] if names is None else names
    stored = [UTF8 + name if UTF8 + name in arrays else name for name in loaded]
    chunks = read_objects(location, [chunk_key(name, (0,) * arrays[name].ndim) for name in stored if name in arrays])
    # `arrays` read from this dict
    objects |= {key: to_buffer(data) for key, data in chunks.items() if data is not None}
    texts = {name: TextArray(arrays[name], arrays[UTF8 + name]) for name in arrays if UTF8 + name in arrays}
    seen = {name: array for name, array in arrays.items() if not name.startswith(UTF8)}
    return ZarrGroup(dict(group.attrs), seen | texts)
