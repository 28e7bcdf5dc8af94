"""What extraction and conversion need of a store to create and write it, in either format."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from etl.files import remove_path
from etl.schema import Schema
from etl.store.layout import Layout
from etl.store.location import Location
from etl.store.lock import FileLock, StoreLock
from etl.store.reader import StoreReader
from etl.store.sidecar import write_file

if TYPE_CHECKING:
    from mpi4py import MPI

__all__ = ["Backend", "Writer"]


class Writer(ABC):
    """A store, open for writing on all ranks; used in a `with` statement."""

    @abstractmethod
    def write(self, name: str, first: int, rows: npt.NDArray[Any]) -> None:
        """Collective: write rows [first, first + n) of one data set, shape (n, ...); n may be 0 on some ranks.

        `rows` must stay unchanged until `wait` returns.
        """

    def wait(self) -> None:  # noqa: B027  # HDF5 has nothing to wait for
        """Wait until the memory of the pixels given to `write` can be reused."""

    @abstractmethod
    def sync(self) -> None:
        """Collective: flush the written bytes to the disk."""

    @abstractmethod
    def close(self) -> None:
        """Collective: close the store."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Backend(ABC):
    """One store, by location: create, open, change. Implemented for HDF5 and Zarr."""

    location: Location
    """Its file or folder, or its prefix in a bucket."""

    layout: Layout
    """Layout with which it is created and written."""

    @property
    def shard_rows(self) -> int:
        """Rows that must be written together by one rank: the shard size in Zarr, 1 in HDF5."""
        return 1

    def prepare_parent(self) -> None:
        """Create the folder that is to hold the store; in a bucket, check that objects can be read.

        Raises:
            ValueError: the credentials are refused.
            OSError: the folder cannot be created, or the server does not answer.
        """
        self.location.path.parent.mkdir(parents=True, exist_ok=True)

    def exists(self) -> bool:
        """Whether anything is at the store's location."""
        return self.location.path.exists()

    def remove(self) -> None:
        """Remove the store, or what was written of it."""
        remove_path(self.location.path)

    def lock(self, lease_s: float | None = None) -> StoreLock:
        """The lock that keeps other runs from writing the store, not yet held.

        `lease_s`: seconds after which the lock of a run in a bucket ends unless that run renews it.

        Raises:
            OSError: the folder cannot be reached.
        """
        return FileLock(self.location)

    def detach(self) -> None:  # noqa: B027  # shards are replaced as a whole, after a look at the lock
        """Keep processes of an ended run, which have the store open, from changing it; the caller holds the lock.

        Raises:
            OSError: it cannot be copied.
        """

    def take_over(self) -> None:  # noqa: B027  # HDF5 writes rows in place
        """Remove what a killed run left half-written; in a bucket, keep earlier runs from changing the journal.

        The caller holds the lock.
        """

    def claim_columns(self, identity: Mapping[str, npt.NDArray[Any]]) -> None:  # noqa: B027  # files have a lock
        """In a bucket, keep earlier runs from changing any array but pixels; write those that a killed one did not.

        `identity`: columns as of `create`.
        """

    def claim_rows(self, rows: npt.NDArray[np.intp]) -> None:  # noqa: B027  # files have a lock
        """In a bucket, keep earlier runs from changing the shards of `rows`, which the journal has as unfinished."""

    def write_beside(self, location: Location, data: bytes, append: bool = False) -> None:
        """Write a small file beside the store, or add to its end: journal, record, list of rejected rows.

        Raises:
            OSError: it cannot be written.
        """
        write_file(location, data, append)

    def reader(self) -> StoreReader:
        """The store as it is now, open for reading, also one to be repaired. ValueError: there is no such store."""
        return StoreReader(self.location, check=False)

    @abstractmethod
    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Create the empty store, every array in the shape and dtype that `schema` gives; one process calls this."""

    @abstractmethod
    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays other than pixels, in the order given."""

    @abstractmethod
    def zero_rows(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows` to 0, and flush them to the disk."""

    @abstractmethod
    def writer(self, comm: "MPI.Intracomm", info: "MPI.Info | None") -> Writer:
        """Collective: the store, open for writing; `info`: hints for MPI-IO."""
