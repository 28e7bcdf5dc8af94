"""The layout of a Zarr version 3 store: pixel arrays in shards of compressed chunks, every other array one chunk.

Source: Zarr version 3 specification; sharding codec 1.0; zarr-python's `null_terminated_bytes`.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from etl.convert.settings import ConvertSettings
from etl.store.schema import FLAGS, SPLITS, STATS, DataSet, Schema

__all__ = ["create_zarr"]


def create_zarr(
    path: Path,
    schema: Schema,
    identity: Mapping[str, npt.NDArray[Any]],
    attributes: Mapping[str, Any],
    settings: ConvertSettings,
) -> None:
    """Make the store's folder: all metadata and `identity`, no pixels.

    Raises:
        OSError: it cannot be written.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fixed-length bytes are an extension of the specification
        group = zarr.create_group(path, zarr_format=3, attributes=dict(attributes))
        for item, values in schema.coordinates:
            _add(group, item, np.array([v.encode() if isinstance(v, str) else v for v in values], item.dtype))
        for item in (*schema.identity, *schema.results):
            _add(group, item, identity[item.name])
        for item in schema.pixels:
            _add_pixels(group, item, settings)
        _add_stats(group, schema)
        complete = DataSet("complete", (), (), "|u1", {"long_name": "1 once the run has finished"})
        _add(group, complete, np.zeros((), np.uint8))
        zarr.consolidate_metadata(path)


def _add(group: zarr.Group, item: DataSet, values: npt.NDArray[Any]) -> None:
    made = group.create_array(
        item.name,
        shape=item.shape,
        chunks=tuple(max(1, length) for length in item.shape),
        dtype=np.dtype(item.dtype),
        compressors=ZstdCodec(level=3),
        **_common(item),
    )
    made[...] = values.astype(item.dtype)


def _add_pixels(group: zarr.Group, item: DataSet, settings: ConvertSettings) -> None:
    codec = BloscCodec(typesize=2, cname="zstd", clevel=settings.level, shuffle="bitshuffle")
    group.create_array(
        item.name,
        shape=item.shape,
        chunks=(settings.chunk_rows, *item.row_shape),
        shards=(settings.shard_rows, *item.row_shape),
        dtype=np.dtype(item.dtype),
        compressors=codec if settings.codec == "zstd" else None,
        fill_value=0,
        **_common(item),
    )


def _common(item: DataSet) -> dict[str, Any]:
    found = {key: value.item() if isinstance(value, np.generic) else value for key, value in item.attributes.items()}
    if item.dtype.startswith("S"):
        found["_Encoding"] = "utf-8"
    if item.name in FLAGS:
        found |= {"flag_values": list(range(len(FLAGS[item.name]))), "flag_meanings": " ".join(FLAGS[item.name])}
    return {
        "attributes": found,
        "dimension_names": item.dims or None,
        "chunk_key_encoding": {"name": "default", "separator": "."},
        "config": {"write_empty_chunks": True},
    }


def _add_stats(group: zarr.Group, schema: Schema) -> None:
    own = group.create_group("stats")
    for name, values in (("split", SPLITS), ("word", ("high", "low"))):
        length = max(map(len, values))
        _add(own, DataSet(name, (name,), (len(values),), f"S{length}"), np.array([v.encode() for v in values]))
    for pixels in schema.pixels:
        below = own.create_group(pixels.name)
        for name in STATS:
            item = DataSet(name, ("split", pixels.dims[-1], "word"), (len(SPLITS), pixels.shape[-1], 2), "<u8")
            _add(below, item, np.zeros(item.shape, np.uint64))
