"""The journal beside a store: which rows are finished, one JSON line a sync, written by rank 0 alone.

The first line says what the store was begun with. Each further line names row ranges whose pixels and state have
reached the disk, and the rejections among them. A line torn by a kill is the last one, and is ignored. Beside a store
in a bucket the journal is an object, which is written anew at each sync and never torn.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from etl.store.location import add_line, is_remote, read_file, shown, write_file

__all__ = ["Journal", "Lock", "journal_path", "lock_of", "row_ranges"]


def row_ranges(rows: npt.NDArray[np.intp]) -> list[tuple[int, int]]:
    """Ascending rows as ranges [first, stop) of neighbours."""
    edges = np.flatnonzero(np.diff(rows) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, edges)] if len(rows) else []


def journal_path(store: Path) -> Path:
    """Where the journal of a store lies."""
    return store.with_name(store.name + ".journal")


@dataclass(slots=True)
class Journal:
    """Finished rows of a store."""

    path: Path
    """The journal's file."""

    begun_with: dict[str, Any]
    """What decides the store's content: catalogue, source, settings; compared on resuming."""

    ranges: list[tuple[int, int]] = field(default_factory=list)
    """Finished rows as [first, stop)."""

    rejected: dict[int, str] = field(default_factory=dict)
    """Reason by row."""

    @classmethod
    def begin(cls, path: Path, begun_with: Mapping[str, Any]) -> "Journal":
        """Start a new journal; any older one is replaced."""
        journal = cls(path, dict(begun_with))
        _line(path, "w", {"begun_with": journal.begun_with})
        return journal

    @classmethod
    def read(cls, path: Path, repair: bool = False) -> "Journal":
        """The journal as far as it was written; `repair` cuts a torn last line off, before more is added.

        Raises:
            ValueError: there is none, its first line is no header, or another line is broken.
        """
        text = read_file(path)
        if text is None:
            raise ValueError(f"{shown(path)} must be there to resume; start anew with another --out")
        lines = text[: text.rfind(b"\n") + 1].splitlines()
        try:
            journal = cls(path, json.loads(lines[0])["begun_with"])
        except (IndexError, ValueError, KeyError, TypeError):
            raise ValueError(f"{path} must begin with what the store was begun with; it is no journal") from None
        for number, line in enumerate(lines[1:], start=2):
            try:
                entry = json.loads(line)
                journal._note([(first, stop) for first, stop in entry["rows"]], entry["rejected"])
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path}, line {number} must name finished rows, got {line[:80]!r}: {error}") from None
        if repair and len(text) > text.rfind(b"\n") + 1:
            with path.open("r+b") as file:
                file.truncate(text.rfind(b"\n") + 1)
        return journal

    def add(self, ranges: Sequence[tuple[int, int]], rejected: Mapping[int, str]) -> None:
        """Append finished rows, once they have reached the disk."""
        self._note(ranges, rejected)
        _line(self.path, "a", {"rows": [list(r) for r in ranges], "rejected": {str(k): v for k, v in rejected.items()}})

    def _note(self, ranges: Sequence[tuple[int, int]], rejected: Mapping[Any, str]) -> None:
        """A row that is finished again, retried, is rejected no more unless this says so."""
        self.ranges += ranges
        for first, stop in ranges if self.rejected else ():
            for row in [row for row in self.rejected if first <= row < stop]:
                del self.rejected[row]
        self.rejected.update({int(row): reason for row, reason in rejected.items()})


def _line(path: Path, mode: str, entry: Mapping[str, Any]) -> None:
    line = (json.dumps(entry, ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    if is_remote(path):
        write_file(path, line) if mode == "w" else add_line(path, line)
        return
    try:
        with path.open(mode + "b") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


class Held(Protocol):
    """What keeps two runs from writing one store."""

    def take_over(self) -> None:
        """Wait until no other run writes the store, then hold it; on rank 0."""

    def share(self) -> None:
        """Hold it together with rank 0; on the others."""

    def release(self) -> None:
        """Let go."""


def lock_of(store: Path) -> Held:
    """The lock of a store: a file's, or a lease where it lies in a bucket.

    Raises:
        OSError: it cannot be reached.
    """
    if not is_remote(store):
        return Lock(store)
    from etl.store.lease import Lease

    return Lease(store)


class Lock:
    """A lock file that every writing process holds shared, and whoever takes a store over holds alone for a moment.

    Ranks outlive a killed mpirun by up to a second: whoever resumes waits here until they are gone. Where the file
    system has no locks this does nothing.
    """

    def __init__(self, store: Path) -> None:
        self.path = store.with_name(store.name + ".lock")
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)

    def take_over(self, patience_s: float = 20.0) -> None:
        """Wait until no other process writes the store, then hold the lock shared.

        Raises:
            ValueError: another process still writes after `patience_s` seconds.
        """
        until = time.monotonic() + patience_s
        while not self._try(fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise ValueError(
                    f"{self.path} is held by another run that still writes the store; wait for it or end it"
                )
            time.sleep(0.1)
        self.share()

    def share(self) -> None:
        """Hold the lock together with the other ranks."""
        self._try(fcntl.LOCK_SH)

    def _try(self, how: int) -> bool:
        try:
            fcntl.flock(self._handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def release(self) -> None:
        """Let go of the lock; the file stays, as another process may hold it."""
        os.close(self._handle)
