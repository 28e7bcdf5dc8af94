"""Buffers for neighbouring store rows of every data set that extraction fills."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.schema import WRITTEN, RowSpan, Schema
from etl.store.errors import DamagedStoreError
from etl.store.journal import row_ranges
from etl.store.reader import StoreReader

__all__ = ["Batch"]


class Batch:
    """Rows [first, first + rows) of every pixel and result data set, in memory."""

    def __init__(self, schema: Schema, capacity: int) -> None:
        """Allocate room for `capacity` rows; `pixels` have the shape (capacity, row, col, band)."""
        self.pixels = {item.name: np.empty((capacity, *item.row_shape), item.dtype) for item in schema.pixels}
        self.results = {item.name: np.empty(capacity, item.dtype) for item in schema.results}
        self.first = 0
        """Store row of the first one."""
        self.rows = 0
        """Number of rows filled."""
        self.rejected: dict[int, str] = {}
        """Reason by store row, of finished rows."""
        self.finished = np.zeros(capacity, bool)
        """Whether each row was extracted or rejected, and no further product of it is to be read."""

    def begin(self, span: RowSpan, to_extract: npt.NDArray[np.intp], stored: StoreReader | None) -> None:
        """Use the buffers for the store rows of `span`.

        All but the rows `to_extract` get what `stored` holds, else pixels 0 and state 0.
        """
        self.first, self.rows, self.rejected = span.first, span.stop - span.first, {}
        self.finished[:] = False
        others = np.setdiff1d(np.arange(span.first, span.stop), to_extract, assume_unique=True)
        if stored is not None:
            self.copy_stored(stored, others)
        elif len(others):
            for array in (*self.pixels.values(), *self.results.values()):
                array[others - span.first] = 0

    def copy_stored(self, stored: StoreReader, rows: npt.NDArray[np.intp]) -> None:
        """Fill these store rows, ascending, shape (row,), with what the store holds; pixels of rejected rows with 0."""
        columns, places = stored.read_columns(self.results), rows - self.first
        for name, target in self.results.items():
            target[places] = columns[name][rows]
        written = rows[columns["state"][rows] == WRITTEN]
        for name, array in self.pixels.items():
            array[places] = 0
            for first, stop in row_ranges(written):
                stored.read_rows(name, np.arange(first, stop), array[first - self.first : stop - self.first])

    def keep_stored(self, stored: StoreReader, row: int) -> None:
        """As `copy_stored` for one store row; in a damaged shard its pixels become 0."""
        try:
            self.copy_stored(stored, np.array([row]))
        except DamagedStoreError:
            for array in self.pixels.values():
                array[row - self.first] = 0

    def finish(self, row: int, problem: str) -> None:
        """Mark a store row as extracted or, if there is a `problem`, as rejected; it is journalled once written."""
        self.finished[row - self.first] = True
        if problem:
            self.rejected[row] = problem

    @property
    def finished_rows(self) -> npt.NDArray[np.intp]:
        """Finished store rows, ascending, shape (row,)."""
        return self.first + np.flatnonzero(self.finished[: self.rows])

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """(data set, its filled rows); `state` comes last, so that it is never written before its pixels."""
        for name, array in (*self.pixels.items(), *self.results.items()):
            yield name, array[: self.rows]
