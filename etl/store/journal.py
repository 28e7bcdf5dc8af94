"""The journal beside a store: which rows are finished, one JSON line for each sync, written by rank 0 alone.

The first line holds the fingerprint of the run's settings, the products that each acquisition is read from, and sizes
and digests of their files. Each further line is one entry of `_ENTRIES`. A killed run can leave only the last line
incomplete; such a line is ignored. Each line ends with a checksum of all lines up to it, so that other damage, and lost
lines before the last, are noticed. Journals of older versions have no checksums.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.schema import RowSpan
from etl.source.content import ProductContent
from etl.store.journal_lines import (
    LineChecksum,
    candidates_of,
    contents_of,
    end_of_whole_lines,
    parse_line,
    reasons_of,
    records_of,
    spans_of,
)
from etl.store.location import Location
from etl.store.rejected_rows import RejectedRows, grown
from etl.store.sidecar import read_file, write_file

__all__ = ["FENCE", "STALLED", "WRITING", "Journal", "journal_location", "read_contents", "row_ranges"]

FENCE = "fence"
"""Key of lines that say nothing: in a bucket each run adds one, so that earlier runs can no longer add lines."""

STALLED = "stalled"
"""Key of a line about units of the source at which a run hung."""

FOREIGN_LINES = tuple(f'{{"{key}"'.encode() for key in (FENCE, STALLED))
"""How lines of other writers begin; they have no checksum, and the checksums of others do not count them."""

WRITING = threading.Lock()
"""Held while a line is written: the thread of a watchdog may write one, too."""

WriteFile = Callable[[Location, bytes, bool], None]
"""Writes all bytes of a file or object, or adds them to its end."""

_FINGERPRINT = "begun_with"  # the key in the file, as in journals of older versions
_CANDIDATES = "candidates"
_CONTENTS = "contents"
_REOPENED = "reopened"
_REPAIR = "repair"

_ENTRIES = ({"rows", "rejected"}, {_REOPENED}, {_REOPENED, _REPAIR}, {_CANDIDATES}, {_CONTENTS})
"""The keys of each kind of line after the first, in this order: rows whose pixels and state are on the disk, and why
some of them are rejected; rows to be extracted again, or repaired; other products of some acquisitions; files of more
products."""


def row_ranges(rows: npt.NDArray[np.intp]) -> list[RowSpan]:
    """Ascending row numbers, shape (n,), as spans of neighbours."""
    if not len(rows):
        return []
    edges = np.flatnonzero(np.diff(rows) != 1)
    first, last = rows[np.append(0, edges + 1)], rows[np.append(edges, -1)]
    return list(map(RowSpan, first.tolist(), (last + 1).tolist()))


def journal_location(store: Location) -> Location:
    """Location of the journal of the store at `store`."""
    return store.sibling(store.name + ".journal")


def read_contents(location: Location) -> dict[str, list[ProductContent]]:
    """`Journal.contents` of the journal at `location`, without reading its rows; empty if it cannot be used.

    Nothing is compared with checksums: `Journal.read` does so before anything depends on it.
    """
    first, *others = (read_file(location) or b"").split(b"\n")
    begin, contents = f'{{"{_CONTENTS}"'.encode(), dict[str, list[ProductContent]]()
    try:
        for line in (first, *(line for line in others if line.startswith(begin))):
            contents |= contents_of(parse_line(line).get(_CONTENTS, {}))
    except ValueError:
        return {}
    return contents


class Journal:
    """Finished rows of a store."""

    def __init__(
        self,
        location: Location,
        fingerprint: Mapping[str, Any],
        candidates: Mapping[str, list[str]] | None = None,
        contents: Mapping[str, Sequence[ProductContent]] | None = None,
        write: WriteFile = write_file,
    ) -> None:
        self.location = location
        """The journal's file or object."""
        self.fingerprint = dict(fingerprint)
        """Settings, catalogue and source that decide the store's content; compared on resuming."""
        self.candidates = dict(candidates or {})
        """By listed product, the names of the products that its patches are read from, best first.

        Journals of older versions, and of patch archives, have none."""
        self.contents = {name: list(copies) for name, copies in (contents or {}).items()}
        """Files of these products by product name, one item for each copy; as `candidates`."""
        self.rejected = RejectedRows()
        """Why each rejected row could not be extracted."""
        self.write = write
        """Writes the journal's file or object, or adds to its end."""
        self._finished = np.zeros(0, bool)
        self._reopened = np.zeros(0, bool)
        self._repairs = np.zeros(0, bool)
        self._checksum = LineChecksum()

    @classmethod
    def begin(
        cls,
        location: Location,
        fingerprint: Mapping[str, Any],
        candidates: Mapping[str, list[str]] | None = None,
        contents: Mapping[str, Sequence[ProductContent]] | None = None,
        write: WriteFile = write_file,
    ) -> "Journal":
        """Start a new journal at `location`; it replaces an older one."""
        journal = cls(location, fingerprint, candidates, contents, write)
        first: dict[str, Any] = {_FINGERPRINT: journal.fingerprint}
        first |= {_CANDIDATES: journal.candidates} if candidates else {}
        first |= {_CONTENTS: records_of(journal.contents)} if contents else {}
        journal._write_line(first, append=False)
        return journal

    @classmethod
    def read(cls, location: Location, repair: bool = False, write: WriteFile = write_file) -> "Journal":
        """The journal up to its last whole line; `repair` cuts off bytes after it, so that lines can be added.

        Raises:
            ValueError: it is missing, its first line has no fingerprint, or another whole line is invalid.
        """
        text = read_file(location)
        if text is None:
            needed = "--resume needs it; restore it, or start a new store with another --out"
            raise ValueError(f"{location} is missing, and {needed}")
        end = end_of_whole_lines(text)
        lines = [line.strip() for line in text[:end].split(b"\n")[:-1]] or [b""]
        journal = cls._of_first_line(location, lines[0], write)
        for number, line in enumerate(lines, start=1):
            if number > 1 and line.startswith(FOREIGN_LINES):
                continue
            try:
                journal._checksum.check(line)
                if number > 1:
                    journal._note_entry(parse_line(line))
            except ValueError as error:
                what = f"{location}, line {number}, is damaged: it must name finished rows, got {line[:80]!r}: {error}"
                raise ValueError(f"{what}; restore the journal, or start a new store with another --out") from None
        if repair and len(text) > end:
            _cut(location, text, end, write)
        return journal

    @classmethod
    def _of_first_line(cls, location: Location, line: bytes, write: WriteFile) -> "Journal":
        try:
            first = parse_line(line)
            if not isinstance(first.get(_FINGERPRINT), dict):
                raise ValueError("no fingerprint")
            candidates, contents = candidates_of(first.get(_CANDIDATES, {})), contents_of(first.get(_CONTENTS, {}))
        except ValueError:
            needed = "its first line must hold the settings of the run"
            raise ValueError(f"{location} is not a journal of etl.extract: {needed}") from None
        return cls(location, first[_FINGERPRINT], candidates, contents, write)

    def finished_rows(self, rows: int) -> npt.NDArray[np.bool_]:
        """Whether each of the store's `rows` is finished, shape (rows,)."""
        return grown(self._finished, rows)[:rows]

    def reopened_rows(self, rows: int) -> npt.NDArray[np.bool_]:
        """Whether each of the store's `rows` was finished once, and is to be extracted again, shape (rows,)."""
        return grown(self._reopened, rows)[:rows]

    @property
    def ranges(self) -> list[RowSpan]:
        """Finished rows, ascending."""
        return row_ranges(np.flatnonzero(self._finished))

    @property
    def repairs(self) -> npt.NDArray[np.intp]:
        """Rows that are to be extracted again because they are damaged, to the pixels that they had, shape (n,)."""
        return np.flatnonzero(self._repairs)

    def reopen(self, rows: npt.NDArray[np.intp], repair: bool = False) -> None:
        """Append that these rows, ascending, shape (n,), are to be extracted again, and so are not finished.

        `repair`: to the pixels that they had, whose checksums the store holds.
        """
        if len(rows):
            spans = row_ranges(rows)
            self._note_reopened(np.array(spans), repair)
            self._write_line({_REOPENED: spans, **({_REPAIR: True} if repair else {})})

    def change_candidates(self, candidates: Mapping[str, list[str]]) -> None:
        """Append the products from which some acquisitions are read from now on, by listed product."""
        if candidates:
            self.candidates |= candidates
            self._write_line({_CANDIDATES: dict(candidates)})

    def change_contents(self, contents: Mapping[str, Sequence[ProductContent]]) -> None:
        """Append the files of some products, by product name."""
        if contents:
            self.contents |= {name: list(copies) for name, copies in contents.items()}
            self._write_line({_CONTENTS: records_of(contents)})

    def add(self, ranges: Sequence[RowSpan], rejected: Mapping[int, str]) -> None:
        """Append spans of rows whose bytes are on the disk, and the reason of each rejected row."""
        self._note(np.array(ranges, np.intp).reshape(-1, 2), rejected)
        self._write_line({"rows": ranges, "rejected": {str(k): v for k, v in rejected.items()}})

    def _note_entry(self, entry: Mapping[str, Any]) -> None:
        """Take in a line; raises a ValueError if it is none of `_ENTRIES`."""
        keys = entry.keys() - {"sum"}
        if keys not in _ENTRIES:
            raise ValueError(f"it has {', '.join(sorted(keys)) or 'nothing'}, unknown to this version")
        if "rows" in keys:
            self._note(spans_of(entry["rows"], self.fingerprint.get("rows")), reasons_of(entry["rejected"]))
        elif _REOPENED in keys:
            self._note_reopened(spans_of(entry[_REOPENED], self.fingerprint.get("rows")), bool(entry.get(_REPAIR)))
        elif _CANDIDATES in keys:
            self.candidates |= candidates_of(entry[_CANDIDATES])
        else:
            self.contents |= contents_of(entry[_CONTENTS])

    def _note_reopened(self, spans: npt.NDArray[np.intp], repair: bool) -> None:
        self._set(spans, finished=False, repair=repair)

    def _note(self, spans: npt.NDArray[np.intp], rejected: Mapping[int, str]) -> None:
        # A rejected row that was retried and is finished now is no longer rejected, unless `rejected` names it again.
        self._set(spans, finished=True, repair=False)
        rows = np.fromiter(rejected, np.intp, len(rejected))
        if len(rows) and not self.finished_rows(max(len(self._finished), int(rows.max()) + 1))[rows].all():
            raise ValueError("every rejected row must be among the finished ones")
        self.rejected.put(rejected)

    def _set(self, spans: npt.NDArray[np.intp], *, finished: bool, repair: bool) -> None:
        most = int(spans[:, 1].max(initial=0))
        self._finished, self._reopened = grown(self._finished, most), grown(self._reopened, most)
        self._repairs = grown(self._repairs, most)
        for first, stop in spans.tolist():
            self._finished[first:stop] = finished
            self._reopened[first:stop] = not finished
            self._repairs[first:stop] = repair
            self.rejected.remove(first, stop)

    def _write_line(self, entry: Mapping[str, Any], append: bool = True) -> None:
        line = self._checksum.seal(entry)
        with WRITING:
            self.write(self.location, line + b"\n", append)
        self._checksum.take(line)


def _cut(location: Location, text: bytes, end: int, write: WriteFile) -> None:
    """Cut the journal off after `end` bytes."""
    if location.is_remote:
        write(location, text[:end], False)
        return
    with location.path.open("r+b") as file:
        file.truncate(end)
