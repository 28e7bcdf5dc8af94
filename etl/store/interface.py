"""What is asked of a store of either format, by whoever makes it and writes it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy.typing as npt

from etl.schema import Schema
from etl.store.layout import Layout
from etl.store.reader import StoreReader

__all__ = ["Backend", "Writer"]


class Writer(ABC):
    """A store open for writing on all ranks; to be used in a `with`."""

    @abstractmethod
    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Collective: hand over rows [first, first + n) of one data set, shape (n, ...); n may be 0 on some ranks."""

    def wait(self) -> None:  # noqa: B027  # HDF5 has nothing to wait for
        """Wait until the memory of what was handed over is free again."""

    @abstractmethod
    def sync(self) -> None:
        """Collective: bring the bytes that were written to the disk."""

    @abstractmethod
    def close(self) -> None:
        """Collective: end writing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Backend(ABC):
    """A store at its place."""

    path: Path
    """Its file or folder, or its place in a bucket."""

    layout: Layout
    """How it is laid out where it is made, and how it is written."""

    @property
    def shard_rows(self) -> int:
        """Rows of the shape (row, ...) that one rank writes together; 1 where each stands for itself."""
        return 1

    def check(self) -> None:
        """Make sure that its place can be reached. ValueError: credentials are refused, or there is no bucket."""
        self.path.parent.stat()

    def exists(self) -> bool:
        """Whether anything is at the store's place."""
        return self.path.exists()

    def discard_unfinished(self) -> None:  # noqa: B027  # HDF5 writes rows in place
        """Remove what a killed run left half-written, while nobody else writes the store."""

    def reader(self) -> StoreReader:
        """The store as it is now, open for reading. ValueError: there is no such store."""
        return StoreReader(self.path)

    @abstractmethod
    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Make the empty store, every array in the shape and dtype that `schema` gives; one process calls this."""

    @abstractmethod
    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays other than pixels, in the order given."""

    @abstractmethod
    def zero_rows(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows` to 0, on the disk."""

    @abstractmethod
    def writer(self, comm: Any, info: Any) -> Writer:
        """Collective: open for writing; `comm` and `info` are mpi4py's."""
