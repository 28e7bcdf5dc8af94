"""Read the metadata of a Zarr store, and its arrays other than pixels, into memory."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.store.location import is_remote, shown
from etl.store.object_store import read_objects

__all__ = ["ZARR_ROOT", "array_values", "chunk_key", "load_group", "store_exists", "zarr_array"]

ZARR_ROOT = "zarr.json"
"""Name of the object with the metadata of all arrays."""

_ROOTS = (ZARR_ROOT, ".zgroup", ".zarray")  # of version 3 and of version 2


def store_exists(path: Path) -> bool:
    """Whether a store, or anything else, is at `path`; in a bucket, whether the root of a Zarr store of any version is.

    Raises:
        OSError: the server does not say.
    """
    if not is_remote(path):
        return path.exists()
    return any(data is not None for data in read_objects(path, _ROOTS).values())


def chunk_key(name: str, index: tuple[int, ...]) -> str:
    """Name of the object that holds chunk or shard `index`, one number an axis, of the array `name` of a store."""
    return f"{name}/" + ".".join(map(str, ("c", *index)))


def load_group(path: Path, names: Iterable[str] | None = None) -> zarr.Group:
    """The group at `path` with the values of the arrays `names` in memory, by default of all but pixel arrays.

    Of other arrays shape, dtype and attributes can be read, values cannot.

    Raises:
        ValueError: there is no Zarr version 3 store with consolidated metadata.
        OSError: it cannot be read.
    """
    make = default_buffer_prototype().buffer.from_bytes
    objects = {ZARR_ROOT: make(_read_root(path))}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fixed-length bytes are an extension of the specification
        group = zarr.open_group(MemoryStore(objects), mode="r", zarr_format=3, use_consolidated=None)
        if group.metadata.consolidated_metadata is None:
            raise ValueError(f"{shown(path)} must be a store of etl.extract; its {ZARR_ROOT} lists no arrays")
        arrays = {name: item for name, item in group.members(max_depth=None) if isinstance(item, zarr.Array)}
    wanted = [name for name, array in arrays.items() if array.shards is None] if names is None else names
    keys = [chunk_key(name, (0,) * arrays[name].ndim) for name in wanted if name in arrays]
    chunks = read_objects(path, keys)
    objects |= {key: make(data) for key, data in chunks.items() if data is not None}  # `group` reads this dict
    return group


def _read_root(path: Path) -> bytes:
    found, where = read_objects(path, _ROOTS), shown(path)
    root = found[ZARR_ROOT]
    if root is not None:
        return root
    if any(data is not None for data in found.values()):
        raise ValueError(f"{where} must be a Zarr store of version 3, as etl.extract makes it; it is of version 2")
    raise ValueError(f"{where} must be a Zarr store of etl.extract; it has no {ZARR_ROOT}")


def zarr_array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """The array `name` of a group, its values unread."""
    item = group[name]
    if not isinstance(item, zarr.Array):
        raise ValueError(f"{name} must be an array, it is a group")
    return item


def array_values(group: zarr.Group, name: str) -> npt.NDArray[Any]:
    """Values of the array `name` of a group that `load_group` gave, in its own shape and dtype."""
    return np.asarray(zarr_array(group, name)[...])
