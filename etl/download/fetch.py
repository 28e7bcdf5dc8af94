"""Fetch one file from a service, compared with the checksum that is published of it.

What has arrived of a file is kept as FILE.part. Where the service has ranges, the next try or the next run goes on from
its end.
"""

import contextlib
import errno
import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.download.remote import ReplacedFileError
from etl.download.target import Target
from etl.download.web import LONGEST_PAUSE_S, RetryableError
from etl.files import sync_path

__all__ = ["DamagedFileError", "FileFetcher", "RemoteSource"]

_HASHES: dict[str, Callable[[], Any]] = {
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "SHA3-256": hashlib.sha3_256,
}

log = logging.getLogger("etl.download")

_FIRST_PAUSE_S = 0.5
"""Seconds before the first repetition; each further pause is twice as long."""

_QUIET_S = 10.0
"""Longest pause that is not told."""

_WRONG_TRIES = 2
"""How often a file is fetched that arrives with a wrong checksum."""


class DamagedFileError(Exception):
    """The service gives another file than it has published."""


@dataclass(frozen=True, slots=True)
class RemoteSource:
    """A file at a service."""

    shown: str
    """What messages call it."""

    pieces: Callable[[int], Iterator[bytes]]
    """Its bytes from an offset on; raises as `etl.download.remote.RemoteFiles.pieces`."""

    has_ranges: bool
    """Whether that offset can be other than 0."""

    checksum: tuple[str, str] | None
    """MD5 or SHA3-256, and the checksum in lower-case hexadecimal digits; None if it is not known."""

    published_in: str
    """Where the checksum comes from."""


class _Hashed:
    """Checksum of the beginning of a file."""

    def __init__(self, name: str) -> None:
        self._make = _HASHES[name]
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        self._hash, self.bytes = self._make(), 0

    def update(self, piece: bytes) -> None:
        """Go on with further bytes."""
        self._hash.update(piece)
        self.bytes += len(piece)

    def digest(self) -> str:
        """The checksum, in lower-case hexadecimal digits."""
        return str(self._hash.hexdigest())


@dataclass(slots=True)
class FileFetcher:
    """Fetches files; used by several threads."""

    target: Target
    attempts: int
    """Tries of a file in a row in which nothing is gained."""
    on_bytes: Callable[[int], None]
    """Called with the number of bytes that have arrived."""
    stopping: threading.Event
    """Set when the run ends: no further byte is fetched."""

    def fetch(self, source: RemoteSource, path: Path) -> None:
        """Fetch a file to `path`, which it gets once its checksum is right.

        Raises:
            ConnectionError: the service does not answer, after all attempts.
            MissingFileError: the file is not there.
            DamagedFileError: it has another checksum than published, twice.
            InterruptedError: the run ends.
            OSError: it cannot be written.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        for _ in range(_WRONG_TRIES):
            with self.target.connection(self.stopping.is_set):
                digest = self._fetch_all(source, part)
            if source.checksum is None or digest == source.checksum[1]:
                sync_path(part)
                part.replace(path)
                return
            part.unlink()
        assert source.checksum is not None
        raise DamagedFileError(
            f"{source.shown} must have the {' '.join(source.checksum)} as in {source.published_in}, got {digest}, "
            f"in {_WRONG_TRIES} tries"
        )

    def _fetch_all(self, source: RemoteSource, part: Path) -> str:
        """Fetch what `part` lacks of a file; returns its checksum."""
        failures, hashed = 0, _Hashed(source.checksum[0] if source.checksum else "MD5")
        while True:
            try:
                self._fetch_rest(source, part, hashed)
                return hashed.digest()
            except RetryableError as error:
                if isinstance(error, ReplacedFileError):
                    part.unlink(missing_ok=True)
                failures = 1 if error.gained else failures + 1
                if failures >= self.attempts:
                    raise
                pause_s = error.after_s or min(_FIRST_PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)
                log.log(logging.INFO if pause_s > _QUIET_S else logging.DEBUG, "%s; again in %.0f s", error, pause_s)
            if self.stopping.wait(pause_s):
                raise InterruptedError(errno.EINTR, "the run ends")

    def _fetch_rest(self, source: RemoteSource, part: Path, hashed: _Hashed) -> None:
        """Fetch what `part` lacks of a file, and go on with its checksum from the byte that `hashed` has reached."""
        start = _size(part) if source.has_ranges else 0
        with part.open("r+b" if start else "wb", buffering=0) as file:
            if hashed.bytes != start:  # an earlier run began the file
                hashed.reset()
                for piece in _pieces_of(file.fileno(), start):
                    hashed.update(piece)
                    self._require_going_on()
            file.seek(start)
            for piece in source.pieces(start):
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
                hashed.update(piece)
                self.on_bytes(len(piece))
                self._require_going_on()

    def _require_going_on(self) -> None:
        if self.stopping.is_set():
            raise InterruptedError(errno.EINTR, "the run ends")


def _size(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_size
    return 0


def _pieces_of(descriptor: int, stop: int) -> Iterator[bytes]:
    """The first `stop` bytes of an open file."""
    at = 0
    while at < stop and (piece := os.pread(descriptor, min(1 << 20, stop - at), at)):
        yield piece
        at += len(piece)
