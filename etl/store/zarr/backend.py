"""Create and write a Zarr store in a folder: implements `etl.store.interface.Backend`; for a bucket see `bucket.py`.

A store is one Zarr version 3 group. Pixel arrays are sharded along the patch axis, unless the layout has no shards;
every other array is one chunk, which one process replaces whole. Arrays of text are there twice: `etl.store.zarr.text`.
The metadata are consolidated in the root's `zarr.json`, and do not change once the store exists.

Source: Zarr version 3 specification, sharding codec 1.0; zarr-python: consolidated metadata.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.codecs import BloscCodec, ZstdCodec
from zarr.storage import MemoryStore

from etl.files import replace_atomically
from etl.schema import COMPLETE, DataSet, Schema, encoded
from etl.store.interface import Backend
from etl.store.layout import Layout, as_json, stored_attributes
from etl.store.location import Location
from etl.store.object_store import write_objects
from etl.store.zarr.group import load_group
from etl.store.zarr.metadata import is_pixels
from etl.store.zarr.text import as_strings, as_utf8, utf8_twin
from etl.store.zarr.writer import FolderWriter, overwrite_zarr, zero_zarr_rows

__all__ = ["FolderBackend", "ZarrBackend", "empty_store_objects"]


class ZarrBackend(Backend):
    """A Zarr store, whether in a folder or a bucket."""

    @property
    def shard_rows(self) -> int:
        """Rows of one file: of a shard, or of a chunk without shards; of the store if it exists, else of the layout.

        Raises:
            ValueError: it exists, but is not a store of etl.extract.
        """
        if not self.exists():
            return self.layout.file_rows
        pixels = [array for name, array in load_group(self.location).arrays.items() if is_pixels(name)]
        if not pixels:
            raise ValueError(f"{self.location} must be a store of etl.extract; it has no array of pixels")
        return int((pixels[0].shards or pixels[0].chunks)[0])


class FolderBackend(ZarrBackend):
    """A Zarr store in a folder."""

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays other than pixels, in the order given."""
        overwrite_zarr(self.location, arrays)

    def zero_rows(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows` to 0."""
        zero_zarr_rows(self.location, rows)

    def writer(self, comm: Any, info: Any) -> FolderWriter:
        """Collective: open for writing; `info`, of MPI-IO, is not used."""
        return FolderWriter(self.location, comm)

    def take_over(self) -> None:
        """Remove what killed writers left half-written in the store's folder; the caller holds the lock."""
        # TensorStore (0.1.86) writes `name.__lock`, then renames it. It does not truncate one that is there already: a
        # shorter object would end with an older one's bytes. Shards that we write ourselves are `name.part`.
        folder = self.location.path
        for unfinished in (*folder.rglob("*.__lock"), *folder.rglob("*.part")):
            unfinished.unlink(missing_ok=True)

    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Create the empty store under a temporary name, then rename it: all metadata and `identity`, no pixels.

        `identity` holds the columns of `schema.identity` and any of `schema.results`; without a `state` every row is in
        state 0. One process calls this.

        Raises:
            OSError: it cannot be written.
        """
        try:
            with replace_atomically(self.location.path) as temporary:
                write_objects(Location.parse(temporary), empty_store_objects(schema, identity, attributes, self.layout))
        except OSError as error:
            raise OSError(f"{self.location} cannot be created: {error.strerror or error}") from None


def empty_store_objects(
    schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any], layout: Layout
) -> dict[str, bytes]:
    """Every object of the empty store, by key: bytes of metadata, and of arrays other than pixels."""
    store = MemoryStore()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # consolidated metadata are an extension of the specification
        group = zarr.create_group(store, zarr_format=3, attributes=dict(attributes))
        for item, values in (*schema.coordinates, *schema.statistics_coordinates, *schema.digest_coordinates):
            _create_single_chunk(group, item, encoded(values, item.dtype))
        for item in (*schema.identity, *schema.results):
            _create_single_chunk(group, item, identity.get(item.name, np.zeros(item.shape, item.dtype)))
        for item in schema.pixels:
            chunks, shards = (
                (rows, *item.row_shape) if rows else None for rows in (layout.chunk_rows, layout.shard_rows)
            )
            codec = BloscCodec(
                typesize=np.dtype(item.dtype).itemsize, cname="zstd", clevel=layout.level, shuffle="bitshuffle"
            )
            compressors = codec if layout.compress == "zstd" else None
            _create_array(group, item, chunks=chunks, shards=shards, compressors=compressors, fill_value=0)
        for item in (*schema.statistics, *schema.digests, COMPLETE):
            _create_single_chunk(group, item, np.zeros(item.shape, item.dtype))
        zarr.consolidate_metadata(store)
    return {name: buffer.to_bytes() for name, buffer in store._store_dict.items()}


def _create_single_chunk(group: zarr.Group, item: DataSet, values: npt.NDArray[Any]) -> None:
    """Create an array of a single chunk, and the groups above it; of text, both of its arrays."""
    if item.dtype.startswith("S"):
        twin = utf8_twin(item)
        _create_single_chunk(group, twin, as_utf8(values, twin.shape[-1]))
    chunks = tuple(max(1, length) for length in item.shape)
    array = _create_array(group, item, chunks=chunks, compressors=ZstdCodec(level=3))
    array[...] = as_strings(values) if item.dtype.startswith("S") else values.astype(item.dtype)


def _create_array(group: zarr.Group, item: DataSet, **options: Any) -> zarr.Array[Any]:
    """Create an array with its attributes, and the groups above it."""
    above, _, name = item.name.rpartition("/")
    attributes = {key: as_json(value) for key, value in stored_attributes(item).items()}
    dtype: Any = np.dtype(item.dtype)
    if dtype.kind == "S":
        dtype = str
        del attributes["_Encoding"]  # of bytes
    return (group.require_group(above) if above else group).create_array(
        name,
        shape=item.shape,
        dtype=dtype,
        attributes=attributes,
        dimension_names=item.dims or None,
        chunk_key_encoding={"name": "default", "separator": "."},
        config={"write_empty_chunks": True},
        **options,
    )
