"""Compare finished rows of a store with their checksums, each of them on one of the ranks."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from etl.extract.inputs import ExtractionInputs
from etl.heartbeat import now_doing
from etl.mpi import Comm, RootOnly, on_every_rank
from etl.schema import Schema
from etl.store.checksum import checksum
from etl.store.errors import DamagedStoreError
from etl.store.interface import Backend
from etl.store.statistics import Sums, row_sums

__all__ = ["NO_ROWS", "FinishedRows", "RowFault", "verify_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class FinishedRows:
    """Rows to be verified. Arrays: shape (row,)."""

    rows: npt.NDArray[np.intp]
    """Their numbers, ascending."""

    checksums: npt.NDArray[np.uint64]
    """The checksum that the pixels of each must give."""

    splits: npt.NDArray[np.intp]
    """The split to whose statistics each counts; -1 for a rejected row, which counts to none."""

    def over_ranks(self, shard_rows: int, ranks: int) -> "list[FinishedRows]":
        """The rows divided over ranks; all rows of a shard go to one rank."""
        shards, shard = np.unique(self.rows // shard_rows, return_inverse=True)
        parts = np.array_split(np.arange(len(shards)), ranks)  # empty ones if there are more ranks than shards
        masks = (np.isin(shard, part) for part in parts)
        return [FinishedRows(self.rows[mask], self.checksums[mask], self.splits[mask]) for mask in masks]


NO_ROWS = FinishedRows(np.empty(0, np.intp), np.empty(0, np.uint64), np.empty(0, np.intp))
"""No rows."""


class RowFault(NamedTuple):
    """A row whose pixels do not give its checksum."""

    row: int
    """Its number in the store."""

    found: int | None
    """The checksum that they give; None if they cannot be read."""


def verify_rows(
    inputs: ExtractionInputs, finished: RootOnly[FinishedRows], sums: Sums, comm: Comm
) -> RootOnly[list[RowFault]]:
    """Collective: verify the checksums of `finished` rows, each rank a part; statistics of valid rows go to `sums`.

    Returns the others, ascending.

    Raises:
        JobError: on every rank, if one cannot read the store.
    """
    part = finished.scatter(lambda rows: rows.over_ranks(inputs.store.shard_rows, comm.size))
    faults = on_every_rank(comm, "reading finished rows", lambda: _verify_part(inputs.store, inputs.schema, part, sums))
    parts = comm.gather(faults) or []
    return finished.apply_on_root(lambda _: [fault for faults in parts for fault in faults])


def _verify_part(store: Backend, schema: Schema, part: FinishedRows, sums: Sums) -> list[RowFault]:
    """Those rows of a part with a wrong checksum; statistics of the others go to `sums`."""
    faults: list[RowFault] = []
    if not len(part.rows):
        return faults
    with store.reader() as reader:
        for row, expected, split in zip(part.rows.tolist(), part.checksums.tolist(), part.splits.tolist(), strict=True):
            now_doing(f"comparing row {row} with its checksum")
            try:
                arrays = reader.row(row)
            except DamagedStoreError:  # a shard that was half-written when a run was killed
                faults.append(RowFault(row, None))
                continue
            found = checksum(arrays)
            if found != expected:
                faults.append(RowFault(row, found))
                continue
            for item, pixels in zip(schema.pixels, arrays, strict=True) if split >= 0 else ():
                sums.add(split, item.name, row_sums(pixels, item.nodata, item.saturated))
    return faults
