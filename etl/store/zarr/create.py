"""Create a store as one Zarr version 3 group, and replace arrays of it that are no pixels.

Pixel arrays are sharded along the patch axis; every other array is one chunk, which one process replaces whole. The
metadata are consolidated in the root's `zarr.json`, and no metadata changes once the store is there.

Source: Zarr version 3 specification, sharding codec 1.0; zarr-python: consolidated metadata, `null_terminated_bytes`.
"""

import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.schema import COMPLETE, FLAGS, DataSet, Schema, encoded
from etl.store.layout import Layout
from etl.store.location import is_remote, shown
from etl.store.object_store import read_object, write_new_object, write_objects
from etl.store.sync import sync_folder
from etl.store.zarr.group import ZARR_ROOT, chunk_key, store_exists, zarr_array

__all__ = ["create_zarr", "overwrite_zarr"]


def create_zarr(
    path: Path, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any], layout: Layout
) -> None:
    """Make the complete, empty store at `path`: all metadata and `identity`, no pixels. One process calls this.

    `identity` holds the columns of `schema.identity` and any of `schema.results`; without a `state` every row is in
    state 0. In a folder it is made under a temporary name; in a bucket its root comes last.

    Raises:
        FileExistsError: there is a store.
        OSError: it cannot be written.
    """
    objects = _lay_out(schema, identity, attributes, layout)
    root = objects.pop(ZARR_ROOT)
    if is_remote(path):
        if store_exists(path):
            raise FileExistsError(f"{shown(path)} is there already")
        write_objects(path, objects)
        if not write_new_object(path / ZARR_ROOT, root):
            raise FileExistsError(f"{shown(path)} is there already: another run has just made it")
        return
    temporary = path.with_name(path.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        write_objects(temporary, {**objects, ZARR_ROOT: root})
        temporary.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be created: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _lay_out(
    schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any], layout: Layout
) -> dict[str, bytes]:
    """Every object of the empty store."""
    store = MemoryStore()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fixed-length bytes are an extension of the specification
        group = zarr.create_group(store, zarr_format=3, attributes=dict(attributes))
        for item, values in (*schema.coordinates, *schema.statistics_coordinates):
            _add(group, item, encoded(values, item.dtype))
        for item in (*schema.identity, *schema.results):
            _add(group, item, identity[item.name] if item.name in identity else np.zeros(item.shape, item.dtype))
        for item in schema.pixels:
            _add_pixels(group, item, layout)
        for item in (*schema.statistics, COMPLETE):
            _add(group, item, np.zeros(item.shape, item.dtype))
        zarr.consolidate_metadata(store)
    return {name: buffer.to_bytes() for name, buffer in store._store_dict.items()}


def _add(group: zarr.Group, item: DataSet, values: npt.NDArray[Any]) -> None:
    """An array of one chunk, and the groups above it."""
    *groups, name = item.name.split("/")
    made = (group.require_group("/".join(groups)) if groups else group).create_array(
        name,
        shape=item.shape,
        chunks=tuple(max(1, length) for length in item.shape),
        dtype=np.dtype(item.dtype),
        compressors=ZstdCodec(level=3),
        **_common(item),
    )
    made[...] = values.astype(item.dtype)


def _common(item: DataSet) -> dict[str, Any]:
    return {
        "attributes": _attributes(item),
        "dimension_names": item.dims or None,
        "chunk_key_encoding": {"name": "default", "separator": "."},
        "config": {"write_empty_chunks": True},
    }


def _add_pixels(group: zarr.Group, item: DataSet, layout: Layout) -> None:
    codec = BloscCodec(typesize=2, cname="zstd", clevel=layout.level, shuffle="bitshuffle")
    group.create_array(
        item.name,
        shape=item.shape,
        chunks=(layout.chunk_rows, *item.row_shape),
        shards=(layout.shard_rows, *item.row_shape),
        dtype=np.dtype(item.dtype),
        compressors=codec if layout.compress == "zstd" else None,
        fill_value=0,
        **_common(item),
    )


def _attributes(item: DataSet) -> dict[str, Any]:
    """As HDF5 has them, in JSON's types."""
    found = {key: value.item() if isinstance(value, np.generic) else value for key, value in item.attributes.items()}
    if item.dtype.startswith("S"):
        found["_Encoding"] = "utf-8"
    meanings = FLAGS.get(item.name.rsplit("/", 1)[-1])
    if meanings:
        found |= {"flag_values": list(range(len(meanings))), "flag_meanings": " ".join(meanings)}
    return found


def overwrite_zarr(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Replace whole arrays that are no pixels, in the order given, each at once.

    Raises:
        ValueError: an array has not the shape of its data set.
        OSError: one cannot be written.
    """
    root = read_object(path / ZARR_ROOT)
    if root is None:
        raise OSError(f"{shown(path)} has no {ZARR_ROOT} any more")
    store = MemoryStore({ZARR_ROOT: default_buffer_prototype().buffer.from_bytes(root)})
    group = zarr.open_group(store, mode="r+", zarr_format=3)
    for name, array in arrays.items():
        target = zarr_array(group, name)
        if target.shape != array.shape:
            raise ValueError(f"{name} must be of shape {target.shape}, got {array.shape}")
        target.with_config({"write_empty_chunks": True})[...] = array.astype(target.dtype)
        key = chunk_key(name, (0,) * array.ndim)
        write_objects(path, {key: store._store_dict[key].to_bytes()})
