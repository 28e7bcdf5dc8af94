"""What a run knows of its work before the first pixel: the same ground on every rank, and what is left to do."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl import schema as on_disk
from etl.extract import prepare
from etl.extract.settings import ExtractSettings
from etl.mpi import Comm
from etl.store.backend import Backend, backend_of
from etl.store.journal import Journal
from etl.upsample.method import UpsampleMethod

__all__ = ["Begun", "Ground"]


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """What is known before anything is written; the same on every rank but for `wanted`."""

    settings: ExtractSettings
    comm: Comm
    method: UpsampleMethod
    inspected: list[prepare.Inspected]
    """By tile."""
    schema: on_disk.Schema
    archive: bool
    """Whether the source is a patch archive."""
    wanted: prepare.Wanted | None
    """On rank 0 alone."""

    @property
    def store(self) -> Backend:
        """The store at --out."""
        return backend_of(self.settings.out, self.settings.layout)


@dataclass(slots=True, eq=False)
class Begun:
    """A store that is there and what is left to do; on rank 0."""

    journal: Journal
    pending: npt.NDArray[np.bool_]
    """Rows that are still to be made."""
    done: npt.NDArray[np.intp]
    """Finished rows in state 1, to be held against their checksums."""
    cells: npt.NDArray[np.intp]
    """(row j, column i) of each patch on its tile."""
    shard_rows: int
    """Rows that are written together by one rank."""
    complete: bool = False
    """Nothing is left to do."""
