"""One door to a store of either format: its suffix chooses between HDF5 and Zarr, and no caller asks again.

Zarr's packages are loaded only where a Zarr store is named: they take a rank 60 MiB.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import h5py
import numpy as np
import numpy.typing as npt

from etl.schema import Schema
from etl.store import hdf5, rows
from etl.store.layout import Layout

__all__ = ["Backend", "Reader", "Writer", "backend_of"]


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


class Reader(Protocol):
    """A store's pixel rows."""

    def row(self, row: int) -> list[npt.NDArray[np.uint16]]:
        """One row of every pixel data set, in the order of `Schema.pixels`.

        Raises:
            ValueError: what holds the row is torn.
        """

    def close(self) -> None:
        """Close the store."""

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

    def columns(self, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """Whole arrays that are no pixels. ValueError: there is no such store."""

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays that are no pixels, in the order given."""

    def blank(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows` to 0, on the disk."""

    def reader(self) -> Reader:
        """The store's rows."""

    def writer(self, comm: Any, info: Any) -> Writer:
        """Collective: open for writing; `comm` and `info` are mpi4py's."""


def backend_of(path: Path, layout: Layout | None = None) -> Backend:
    """The store at `path`; `layout` for one that is to be made."""
    layout = layout or Layout()
    if path.suffix != ".zarr":
        return _Hdf5(path, layout)
    from etl.store.zarr_backend import ZarrBackend

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
        hdf5.create(self.path, schema, identity, attributes, self.layout.align_bytes)

    def columns(self, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        try:
            with h5py.File(self.path, "r") as file:
                return {name: file[name][...] for name in names}
        except (OSError, KeyError) as error:
            raise ValueError(f"{self.path} must be a store of etl.extract, and whole: {error}") from None

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        rows.overwrite(self.path, arrays)

    def blank(self, numbers: Sequence[int]) -> None:
        with rows.RowReader(self.path) as reader:
            reader.blank(numbers)

    def reader(self) -> Reader:
        return rows.RowReader(self.path)

    def writer(self, comm: Any, info: Any) -> Writer:
        return hdf5.Writer(self.path, comm, info, self.layout.collective)
