"""Buffers for neighbouring store rows of every data set that extraction fills."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.schema import UNWRITTEN, RowSpan, Schema

__all__ = ["Batch"]


class Batch:
    """Rows [first, first + rows) of every pixel and result data set, in memory."""

    def __init__(self, schema: Schema, capacity: int) -> None:
        """Allocate room for `capacity` rows; `pixels` are uint16 of shape (capacity, row, col, band)."""
        self.pixels = {item.name: np.empty((capacity, *item.row_shape), np.uint16) for item in schema.pixels}
        self.results = {item.name: np.empty(capacity, item.dtype) for item in schema.results}
        self.first = 0
        """Store row of the first one."""
        self.rows = 0
        """Number of rows filled."""
        self.rejected: dict[int, str] = {}
        """Reason by store row."""

    def begin(self, span: RowSpan, to_extract: npt.NDArray[np.intp]) -> None:
        """Use the buffers for the store rows of `span`; all but the rows `to_extract` get pixels 0 and state 0."""
        self.first, self.rows, self.rejected = span.first, span.stop - span.first, {}
        not_extracted = np.ones(self.rows, bool)
        not_extracted[to_extract - span.first] = False
        if not_extracted.any():
            for array in (*self.pixels.values(), *self.results.values()):
                array[: self.rows][not_extracted] = 0

    @property
    def finished_rows(self) -> npt.NDArray[np.intp]:
        """Store rows that were extracted or rejected, ascending, shape (row,)."""
        return self.first + np.flatnonzero(self.results["state"][: self.rows] != UNWRITTEN)

    def arrays(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """(data set, its filled rows); `state` comes last, so that it is never written before its pixels."""
        for name, array in (*self.pixels.items(), *self.results.items()):
            yield name, array[: self.rows]
