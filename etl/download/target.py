"""Where products are fetched to: what is there, what is unfinished, and what other runs do; a folder of a disk.

    OUT/NAME.SAFE/                  a product with all files that were asked for
    OUT/.download/NAME.SAFE/        files of an unfinished one, checked; FILE.part: the beginning of a file
    OUT/.download/*.lock            which product a run fetches, and which connections are in use

Locks belong to open files, so those of a killed run are free at once. Searches pass over hidden folders, so that no
command takes an unfinished product. `etl.download.bucket` is the same for a bucket.

Source: flock(2).
"""

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from etl.files import NO_LOCKS, sync_path
from etl.input_files import NO_LINKS, read_bytes
from etl.safe_manifest import MANIFEST, ListedFile

__all__ = ["RECORD", "FolderTarget", "Target"]

log = logging.getLogger("etl.download")

RECORD = "download.json"
"""Name of the record of a run, beside the products."""

_POLL_S = 0.1


class Target(ABC):
    """Where products are fetched to; used by several threads.

    A file is gathered and checked in the folder of unfinished products, then delivered, and a product is finished once
    all its files are. What is in its place is there for every reader.
    """

    def __init__(self, state: Path, connections: int, threads: int) -> None:
        """Args: folder of unfinished products and locks; connections of all runs that share it; threads that fetch."""
        self.state, self.threads, self._connections = state, threads, connections

    def make(self) -> None:
        """Make the folder of unfinished products.

        Raises:
            OSError: it cannot be made.
        """
        self.state.mkdir(parents=True, exist_ok=True)

    def unfinished(self, stem: str) -> Path:
        """Folder in which files of a product are gathered; stem: its name without .SAFE."""
        return self.state / f"{stem}.SAFE"

    @abstractmethod
    def manifest(self, stem: str) -> bytes | None:
        """The manifest of a product, in its place, which comes last; None if it is not there.

        Raises:
            OSError: it cannot be read.
        """

    @abstractmethod
    def missing(self, stem: str, files: Sequence[ListedFile]) -> list[ListedFile]:
        """Those of some files of a product that are not in their place.

        Raises:
            OSError: what is there cannot be told.
        """

    @abstractmethod
    def deliver(self, stem: str, listed: ListedFile, is_stopping: Callable[[], bool]) -> None:
        """Take a file from the folder of unfinished products to its place, if it need not wait for the others.

        Raises:
            InterruptedError: the run ends, as `is_stopping` tells.
            OSError: it cannot be written.
        """

    @abstractmethod
    def finish(self, stem: str, files: Sequence[ListedFile]) -> None:
        """Take a product, or the `files` that were added to it, to its place; the manifest, which tells of all, last.

        Raises:
            OSError: it cannot be written.
        """

    @abstractmethod
    def write_record(self, text: str) -> None:
        """Write the record of a run, whole or not at all.

        Raises:
            OSError: it cannot be written.
        """

    def settle(self) -> None:  # noqa: B027  # most targets have nothing on its way
        """Wait, some seconds at most, until what is on its way to its place is there or withdrawn, as the run ends."""

    @contextlib.contextmanager
    def connection(self, is_stopping: Callable[[], bool]) -> Iterator[None]:
        """Hold one of the connections, once one is free.

        Raises:
            InterruptedError: the run ends while none is free, as `is_stopping` tells.
        """
        while True:
            for number in range(self._connections):
                with _locked(self.state / f"connection-{number}.lock") as is_held:
                    if is_held:
                        yield
                        return
            if is_stopping():
                raise InterruptedError(errno.EINTR, "the run ends")
            time.sleep(_POLL_S)

    @contextlib.contextmanager
    def product(self, stem: str) -> Iterator[bool]:
        """Hold a product, unless another run does; gives whether it is held."""
        with _locked(self.state / f"{stem}.lock") as is_held:  # never removed, as another run may be opening it
            yield is_held


class FolderTarget(Target):
    """A folder that products are fetched into."""

    def __init__(self, out: Path, connections: int) -> None:
        """Args: the folder; how many connections all runs into it have together."""
        super().__init__(out / ".download", connections, connections)
        self._out = out

    def _finished(self, stem: str) -> Path:
        return self._out / f"{stem}.SAFE"

    def manifest(self, stem: str) -> bytes | None:
        """As of `Target`."""
        path = self._finished(stem) / MANIFEST
        return read_bytes(path, NO_LINKS) if path.is_file() else None

    def missing(self, stem: str, files: Sequence[ListedFile]) -> list[ListedFile]:
        """As of `Target`; a file in its place was checked before it got there."""
        return [one for one in files if not (self._finished(stem) / one.name).is_file()]

    def deliver(self, stem: str, listed: ListedFile, is_stopping: Callable[[], bool]) -> None:
        """As of `Target`; all files wait for the others."""

    def finish(self, stem: str, files: Sequence[ListedFile]) -> None:
        """As of `Target`."""
        here, there = self.unfinished(stem), self._finished(stem)
        for part in here.rglob("*.part"):  # of files that an earlier run was asked for, and this one not
            part.unlink()
        for path in sorted(here.rglob("*"), reverse=True):
            if path.is_dir():
                sync_path(path)
        sync_path(here)
        if not there.exists():
            here.replace(there)
        else:
            inner = [path for path in here.rglob("*") if path.is_file()]
            for path in sorted(inner, key=lambda path: path.name == MANIFEST):
                place = there / path.relative_to(here)
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
            for path in sorted(here.rglob("*"), reverse=True):
                path.rmdir()
            here.rmdir()
        sync_path(self._out)

    def write_record(self, text: str) -> None:
        """As of `Target`."""
        temporary = self._out / f".{RECORD}.{secrets.token_hex(8)}"  # several hosts can have this process id
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self._out / RECORD)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether the lock on a file could be had, without waiting; it is held up to the end of the block."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            _warn_once(str(path.parent))
        yield True
    finally:
        os.close(descriptor)


@cache
def _warn_once(folder: str) -> None:
    log.warning("%s: this file system has no locks, so start no other run into the same folder", folder)
