"""Create and write a Zarr store, in a folder or a bucket, as `etl.store.backend.Backend`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from etl.schema import Schema
from etl.store.layout import Layout
from etl.store.location import is_remote
from etl.store.object_store import check_writable, discard_unfinished
from etl.store.reader import StoreReader
from etl.store.zarr.create import create_zarr, overwrite_zarr
from etl.store.zarr.group import store_exists
from etl.store.zarr.writer import ShardWriter, shard_rows_of, zero_zarr_rows

__all__ = ["ZarrBackend"]


@dataclass(frozen=True, slots=True)
class ZarrBackend:
    """A Zarr store, in a folder or a bucket."""

    path: Path
    layout: Layout

    @property
    def shard_rows(self) -> int:
        """Of the store, where there is one; else of its layout."""
        return shard_rows_of(self.path) if self.exists() else self.layout.shard_rows

    def check(self) -> None:
        """Make sure that its place can be reached, and written to."""
        if is_remote(self.path):
            check_writable(self.path)

    def exists(self) -> bool:
        """Whether anything is at the store's place."""
        return store_exists(self.path)

    def discard_unfinished(self) -> None:
        """Remove what a killed run left half-written."""
        discard_unfinished(self.path)

    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Make the complete, empty store."""
        create_zarr(self.path, schema, identity, attributes, self.layout)

    def reader(self) -> StoreReader:
        """The store as it is now, open for reading."""
        return StoreReader(self.path)

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays that are no pixels, in the order given."""
        overwrite_zarr(self.path, arrays)

    def zero_rows(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows` to 0."""
        zero_zarr_rows(self.path, rows)

    def writer(self, comm: Any, info: Any) -> ShardWriter:
        """Open for writing; nothing of it is MPI-IO's."""
        return ShardWriter(self.path, comm)
