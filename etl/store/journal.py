"""The journal beside a store: which rows are finished, one JSON line for each sync, written by rank 0 alone.

The first line holds the fingerprint of the run's settings and the products that each acquisition is read from. Each
further line names ranges of rows whose pixels and state are on the disk, and the rejected rows among them; or rows that
are to be extracted again; or other products of some acquisitions. A killed run can leave only the last line incomplete;
such a line is ignored.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.schema import RowSpan
from etl.store.location import Location
from etl.store.sidecar import read_file, write_file

__all__ = ["FENCE", "Journal", "journal_location", "row_ranges"]

FENCE = "fence"
"""Key of lines that say nothing: in a bucket each run adds one, so that earlier runs can no longer add lines."""

_FINGERPRINT = "begun_with"  # the key in the file, as in journals of older versions
_CANDIDATES = "candidates"
_REOPENED = "reopened"


def row_ranges(rows: npt.NDArray[np.intp]) -> list[RowSpan]:
    """Ascending row numbers, shape (n,), as spans of neighbours."""
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    return [RowSpan(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, edges)] if len(rows) else []


def journal_location(store: Location) -> Location:
    """Location of the journal of the store at `store`."""
    return store.sibling(store.name + ".journal")


@dataclass(slots=True)
class Journal:
    """Finished rows of a store."""

    location: Location
    """The journal's file or object."""

    fingerprint: dict[str, Any]
    """Settings, catalogue and source that decide the store's content; compared on resuming."""

    ranges: list[RowSpan] = field(default_factory=list)
    """Finished rows."""

    rejected: dict[int, str] = field(default_factory=dict)
    """Why each rejected row could not be extracted, by row number."""

    candidates: dict[str, list[str]] = field(default_factory=dict)
    """By listed product, the names of the products that its patches are read from, best first.

    Journals of older versions, and of patch archives, have none."""

    write: Callable[[Location, bytes, bool], None] = write_file
    """Writes the journal's file or object, or adds to its end."""

    @classmethod
    def begin(
        cls,
        location: Location,
        fingerprint: Mapping[str, Any],
        candidates: Mapping[str, list[str]] | None = None,
        write: Callable[[Location, bytes, bool], None] = write_file,
    ) -> "Journal":
        """Start a new journal at `location`; it replaces an older one."""
        journal = cls(location, dict(fingerprint), candidates=dict(candidates or {}), write=write)
        first = {_FINGERPRINT: journal.fingerprint, **({_CANDIDATES: journal.candidates} if candidates else {})}
        journal._write_line(first, append=False)
        return journal

    @classmethod
    def read(
        cls,
        location: Location,
        repair: bool = False,
        write: Callable[[Location, bytes, bool], None] = write_file,
    ) -> "Journal":
        """The journal up to its last whole line; `repair` cuts off bytes after it, so that lines can be added.

        Raises:
            ValueError: it is missing, its first line has no fingerprint, or another whole line is invalid.
        """
        text = read_file(location)
        if text is None:
            needed = "--resume needs it; restore it, or start a new store with another --out"
            raise ValueError(f"{location} is missing, and {needed}")
        lines = text[: text.rfind(b"\n") + 1].splitlines()
        try:
            first = json.loads(lines[0])
            journal = cls(location, first[_FINGERPRINT], candidates=dict(first.get(_CANDIDATES, {})), write=write)
        except (IndexError, ValueError, KeyError, TypeError):
            needed = "its first line must hold the settings of the run"
            raise ValueError(f"{location} is not a journal of etl.extract: {needed}") from None
        for number, line in enumerate(lines[1:], start=2):
            try:
                journal._note_entry(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                problem = f"{location}, line {number} must name finished rows, got {line[:80]!r}: {error}"
                raise ValueError(problem) from None
        if repair and len(text) > text.rfind(b"\n") + 1:
            with location.path.open("r+b") as file:
                file.truncate(text.rfind(b"\n") + 1)
        return journal

    def _note_entry(self, entry: Mapping[str, Any]) -> None:
        if FENCE in entry:
            return
        if _CANDIDATES in entry:
            self.candidates |= entry[_CANDIDATES]
        elif _REOPENED in entry:
            spans = [np.arange(*span) for span in entry[_REOPENED]]
            self._note_reopened(np.concatenate(spans))
        else:
            self._note([RowSpan(first, stop) for first, stop in entry["rows"]], entry["rejected"])

    def reopen(self, rows: npt.NDArray[np.intp]) -> None:
        """Append that these rows, shape (n,), are to be extracted again: until then they are not finished."""
        if len(rows):
            self._note_reopened(rows)
            self._write_line({_REOPENED: row_ranges(rows)}, append=True)

    def _note_reopened(self, rows: npt.NDArray[np.intp]) -> None:
        left = np.setdiff1d([row for span in self.ranges for row in range(*span)], rows)
        self.ranges = row_ranges(left.astype(np.intp))
        for row in rows.tolist():
            self.rejected.pop(row, None)

    def change_candidates(self, candidates: Mapping[str, list[str]]) -> None:
        """Append the products from which some acquisitions are read from now on, by listed product."""
        if candidates:
            self.candidates |= candidates
            self._write_line({_CANDIDATES: dict(candidates)}, append=True)

    def add(self, ranges: Sequence[RowSpan], rejected: Mapping[int, str]) -> None:
        """Append spans of rows whose bytes are on the disk, and the reason of each rejected row."""
        self._note(ranges, rejected)
        self._write_line({"rows": ranges, "rejected": {str(k): v for k, v in rejected.items()}}, append=True)

    def _note(self, ranges: Sequence[RowSpan], rejected: Mapping[Any, str]) -> None:
        # A rejected row that was retried and is finished now is no longer rejected, unless `rejected` names it again.
        self.ranges += ranges
        for first, stop in ranges if self.rejected else ():
            for row in [row for row in self.rejected if first <= row < stop]:
                del self.rejected[row]
        self.rejected.update({int(row): reason for row, reason in rejected.items()})

    def _write_line(self, entry: Mapping[str, Any], append: bool) -> None:
        line = (json.dumps(entry, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
        self.write(self.location, line, append)
