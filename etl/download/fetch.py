"""Fetch one file of a product, compared with the product's manifest; nothing that is there is fetched.

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

from etl.download.offer import Offer
from etl.download.remote import RemoteFiles, ReplacedFileError
from etl.download.target import Target
from etl.download.web import LONGEST_PAUSE_S, RetryableError
from etl.files import sync_path
from etl.safe_manifest import ListedFile

__all__ = ["DamagedFileError", "FileFetcher"]

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
    """The service gives another file than the product's manifest says."""


@dataclass(slots=True)
class FileFetcher:
    """Fetches files; used by several threads."""

    remote: RemoteFiles
    target: Target
    attempts: int
    """Tries of a file in a row in which nothing is gained."""
    on_bytes: Callable[[int], None]
    """Called with the number of bytes that have arrived."""
    stopping: threading.Event
    """Set when the run ends: no further byte is fetched."""

    def fetch(self, offer: Offer, name: str, listed: ListedFile | None) -> None:
        """Fetch a file of a product, unless an earlier run did, and deliver it; `listed`: its entry in the manifest.

        Raises:
            ConnectionError: the service does not answer, after all attempts.
            MissingFileError: the file is not there.
            DamagedFileError: it has another checksum than listed, twice.
            InterruptedError: the run ends.
            OSError: it cannot be written.
        """
        path = self.target.unfinished(offer.stem) / name
        if not path.is_file():
            self._fetch_checked(offer, name, path, listed)
        if listed is not None:
            self.target.deliver(offer.stem, listed, self.stopping.is_set)

    def _fetch_checked(self, offer: Offer, name: str, path: Path, listed: ListedFile | None) -> None:
        """Fetch a file to `path`, which it gets once its checksum is right."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        for _ in range(_WRONG_TRIES):
            with self.target.connection(self.stopping.is_set):
                digest = self._fetch_all(offer, name, part, listed)
            if listed is None or digest == listed.digest:
                sync_path(part)
                part.replace(path)
                return
            part.unlink()
        assert listed is not None
        raise DamagedFileError(
            f"{offer.stem}: {name} must have the {listed.checksum_name} {listed.digest} as in manifest.safe, "
            f"got {digest}, in {_WRONG_TRIES} tries"
        )

    def _fetch_all(self, offer: Offer, name: str, part: Path, listed: ListedFile | None) -> str:
        """Fetch what `part` lacks of a file; returns its checksum."""
        failures = 0
        while True:
            try:
                return self._fetch_rest(offer, name, part, _size(part) if self.remote.has_ranges else 0, listed)
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

    def _fetch_rest(self, offer: Offer, name: str, part: Path, start: int, listed: ListedFile | None) -> str:
        digest = _HASHES[listed.checksum_name if listed else "MD5"]()
        with part.open("r+b" if start else "wb", buffering=0) as file:
            for piece in _pieces_of(file.fileno(), start):
                digest.update(piece)
            file.seek(start)
            for piece in self.remote.pieces(offer, name, start):
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
                digest.update(piece)
                self.on_bytes(len(piece))
                if self.stopping.is_set():
                    raise InterruptedError(errno.EINTR, "the run ends")
        return str(digest.hexdigest())


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
