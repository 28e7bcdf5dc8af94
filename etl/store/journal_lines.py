"""The lines of a journal: JSON objects, each with a checksum of all lines up to it.

What is damaged raises a ValueError.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from etl.source.content import ProductContent, content_of_record, record_of_content

__all__ = [
    "LineChecksum",
    "candidates_of",
    "contents_of",
    "end_of_whole_lines",
    "parse_line",
    "reasons_of",
    "records_of",
    "spans_of",
]

_CHECKSUM = re.compile(rb', "sum": "([0-9a-f]{16})"\}$')
"""End of a line: XXH3-64 of all lines before it, each with its line feed, and of the line itself without this."""

_MOST_ROWS = 1_000_000_000
"""More than any store has; a damaged line can name any number."""


class LineChecksum:
    """Checksum of the lines so far, for the next one."""

    def __init__(self) -> None:
        self._state = xxhash.xxh3_64()
        self._is_given = False  # by a line so far; lines of older versions have none

    def seal(self, entry: Mapping[str, Any]) -> bytes:
        """The line for an entry, with its checksum and without its line feed."""
        line = json.dumps(entry, ensure_ascii=False).encode(errors="backslashreplace")
        return line[:-1] + f', "sum": "{self._with(line)}"}}'.encode()

    def take(self, line: bytes) -> None:
        """Go on to the line after `line`."""
        self._state.update(line + b"\n")

    def check(self, line: bytes) -> None:
        """Compare the checksum of a line, and take it."""
        match = _CHECKSUM.search(line)
        if match is not None and self._with(line[: match.start()] + b"}") != match[1].decode():
            raise ValueError("it or a line before it was changed or lost, by its checksum")
        if match is None and self._is_given:
            raise ValueError("it must end with a checksum, as lines before it do")
        self._is_given = match is not None
        self.take(line)

    def _with(self, line: bytes) -> str:
        state = self._state.copy()
        state.update(line)
        return state.hexdigest()


def end_of_whole_lines(text: bytes) -> int:
    """Number of bytes up to the last whole line; after a power loss a line that was not synced can hold zeros."""
    end = text.rfind(b"\n") + 1
    start = text.rfind(b"\n", 0, end - 1) + 1
    return start if b"\0" in text[start:end] else end


def parse_line(line: bytes) -> dict[str, Any]:
    """The JSON object in a line; raises a ValueError for anything else."""
    try:
        entry = json.loads(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(entry, dict):
        raise ValueError("it must be a JSON object")  # of a file, not of a caller
    return entry


def reasons_of(rejected: Any) -> dict[int, str]:
    """Reasons by row as a line gives them; raises a ValueError if it gives something else."""
    good = isinstance(rejected, dict) and all(isinstance(text, str) and text for text in rejected.values())
    if not good or not all(key.isascii() and key.isdecimal() and len(key) < 20 for key in rejected):
        raise ValueError(f"rejected must give a reason for each row, got {str(rejected)[:80]}")
    return {int(row): reason for row, reason in rejected.items()}


def candidates_of(candidates: Any) -> dict[str, list[str]]:
    """Products by listed product as a line gives them; raises a ValueError if it gives something else."""
    if isinstance(candidates, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in candidates.values()
    ):
        return candidates
    raise ValueError(f"candidates must be names of products, got {str(candidates)[:80]}")


def contents_of(contents: Any) -> dict[str, list[ProductContent]]:
    """Files by product as a line gives them; raises a ValueError if it gives something else."""
    if isinstance(contents, dict) and all(isinstance(copies, list) for copies in contents.values()):
        return {name: [content_of_record(record) for record in copies] for name, copies in contents.items()}
    raise ValueError(f"contents must be files of products, got {str(contents)[:80]}")


def records_of(contents: Mapping[str, Iterable[ProductContent]]) -> dict[str, list[dict[str, list[Any]]]]:
    return {name: [record_of_content(copy) for copy in copies] for name, copies in contents.items()}


def spans_of(spans: Any, rows: Any) -> npt.NDArray[np.intp]:
    """Spans as a line gives them, as an array, shape (span, 2); they must be of a store with so many `rows`."""
    most = rows if isinstance(rows, int) else _MOST_ROWS
    try:
        array = np.array(spans).reshape(-1, 2) if spans else np.zeros((0, 2), np.intp)
        good = isinstance(spans, list) and array.dtype.kind == "i"
    except (ValueError, TypeError, OverflowError):
        good = False
    if not good or not ((array[:, 0] >= 0) & (array[:, 0] <= array[:, 1]) & (array[:, 1] <= most)).all():
        raise ValueError(f"rows must be spans in [0, {most}], got {str(spans)[:80]}")
    return array.astype(np.intp)
