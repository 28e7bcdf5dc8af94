"""A Zarr store behind the one door of `etl.store.backend`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from etl.schema import Schema
from etl.store import object_store, shards, zarr
from etl.store.backend import Reader, Writer
from etl.store.layout import Layout
from etl.store.location import is_remote

__all__ = ["ZarrBackend"]


@dataclass(frozen=True, slots=True)
class ZarrBackend:
    """A Zarr store, in a folder or a bucket."""

    path: Path
    layout: Layout

    @property
    def shard_rows(self) -> int:
        """Of the store, where there is one; else of its layout."""
        return shards.shard_rows_of(self.path) if self.exists() else self.layout.shard_rows

    def check(self) -> None:
        """Make sure that its place can be reached, and written to."""
        if is_remote(self.path):
            object_store.check(self.path)

    def exists(self) -> bool:
        """Whether anything is at the store's place."""
        return object_store.exists(self.path)

    def discard_unfinished(self) -> None:
        """Remove what a killed run left half-written."""
        object_store.discard_unfinished(self.path)

    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Make the complete, empty store."""
        zarr.create(self.path, schema, identity, attributes, self.layout)

    def columns(self, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Whole arrays that are no pixels."""
        return zarr.columns(self.path, names)

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays that are no pixels, in the order given."""
        zarr.overwrite(self.path, arrays)

    def blank(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows` to 0."""
        shards.blank(self.path, rows)

    def reader(self) -> Reader:
        """The store's rows."""
        return shards.ShardReader(self.path)

    def writer(self, comm: Any, info: Any) -> Writer:
        """Open for writing; nothing of it is MPI-IO's."""
        return shards.ShardWriter(self.path, comm)
