"""Create and write a store of either format: its suffix chooses between HDF5 and Zarr, and no caller asks again.

Zarr's packages are loaded only where a Zarr store is named: they take a rank 60 MiB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy.typing as npt

from etl.schema import Schema
from etl.store.hdf5.create import create_hdf5, overwrite_hdf5, zero_hdf5_rows
from etl.store.hdf5.offset_writer import OffsetWriter, h5py_is_serial
from etl.store.hdf5.writer import Hdf5Writer
from etl.store.layout import Layout
from etl.store.location import format_of
from etl.store.reader import StoreReader

__all__ = ["Backend", "Writer", "backend_of"]


class Writer(Protocol):
    """A store open for writing on all ranks."""

    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Collective: hand over rows [first, first + n) of one data set; n may be 0 on some ranks."""

    def drain(self) -> None:
        """Wait until the memory of what was handed over is free again."""

    def sync(self) -> None:
        """Collective: bring what was written to the disk."""

    def close(self) -> None:
        """Collective: end writing."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: Any) -> None: ...


class Backend(Protocol):
    """A store at its place."""

    @property
    def shard_rows(self) -> int:
        """Rows that are written together by one rank; 1 where each stands for itself."""

    def check(self) -> None:
        """Make sure that its place can be reached. ValueError: credentials are refused, or there is no bucket."""

    def exists(self) -> bool:
        """Whether anything is at the store's place."""

    def discard_unfinished(self) -> None:
        """Remove what a killed run left half-written, while nobody else writes the store."""

    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Make the complete, empty store; one process calls this."""

    def reader(self) -> StoreReader:
        """The store as it is now, open for reading. ValueError: there is no such store."""

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays that are no pixels, in the order given."""

    def zero_rows(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows` to 0, on the disk."""

    def writer(self, comm: Any, info: Any) -> Writer:
        """Collective: open for writing; `comm` and `info` are mpi4py's."""


def backend_of(path: Path, layout: Layout | None = None) -> Backend:
    """The store at `path`; `layout` for one that is to be made."""
    layout = layout or Layout()
    if format_of(path) == "HDF5":
        return _Hdf5(path, layout)
    from etl.store.zarr.backend import ZarrBackend

    return ZarrBackend(path, layout)


@dataclass(frozen=True, slots=True)
class _Hdf5:
    path: Path
    layout: Layout
    shard_rows: int = 1

    def check(self) -> None:
        self.path.parent.stat()

    def exists(self) -> bool:
        return self.path.exists()

    def discard_unfinished(self) -> None:
        pass  # rows are written in place

    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        create_hdf5(self.path, schema, identity, attributes, self.layout.align_bytes)

    def reader(self) -> StoreReader:
        return StoreReader(self.path)

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        overwrite_hdf5(self.path, arrays)

    def zero_rows(self, rows: Sequence[int]) -> None:
        zero_hdf5_rows(self.path, self.reader().schema, rows)

    def writer(self, comm: Any, info: Any) -> Writer:
        if h5py_is_serial():
            return OffsetWriter(self.path)
        return Hdf5Writer(self.path, comm, info, self.layout.collective)
