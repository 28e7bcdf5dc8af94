"""Why rows of a store are rejected, for millions of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["RejectedRows", "grown"]


def grown(array: npt.NDArray[Any], length: int) -> npt.NDArray[Any]:
    """`array` with zeros behind it if it is shorter than `length`."""
    if len(array) >= length:
        return array
    longer = np.zeros(max(length, 2 * len(array)), array.dtype)  # doubled: row by row, not each time copied
    longer[: len(array)] = array
    return longer


class RejectedRows(Mapping[int, str]):
    """Why each rejected row could not be extracted, by row number; four bytes a row, and each reason once."""

    def __init__(self) -> None:
        self._reason = np.zeros(0, np.int32)  # by row: 0, or 1 + the number of its reason
        self._reasons: list[str] = []
        self._numbers: dict[str, int] = {}

    def put(self, reasons: Mapping[int, str]) -> None:
        """Set the reasons of these rows."""
        if not reasons:
            return
        rows = np.fromiter(reasons, np.intp, len(reasons))
        self._reason = grown(self._reason, int(rows.max()) + 1)
        self._reason[rows] = [self._number_of(reason) for reason in reasons.values()]

    def _number_of(self, reason: str) -> int:
        number = self._numbers.setdefault(reason, len(self._reasons) + 1)
        if number > len(self._reasons):
            self._reasons.append(reason)
        return number

    def remove(self, first: int, stop: int) -> None:
        """Forget the reasons of the rows [first, stop)."""
        self._reason[first:stop] = 0

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """The rejected rows, ascending, shape (n,)."""
        return np.flatnonzero(self._reason)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._reason))

    def __iter__(self) -> Iterator[int]:
        return iter(self.rows.tolist())

    def __getitem__(self, row: int) -> str:
        number = self._reason[row] if 0 <= row < len(self._reason) else 0
        if not number:
            raise KeyError(row)
        return self._reasons[number - 1]
