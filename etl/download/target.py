"""The folder that products are fetched into: what is there, what is unfinished, and what other runs do in it.

    OUT/NAME.SAFE/                  a product with all files that were asked for
    OUT/.download/NAME.SAFE/        files of an unfinished one, checked; FILE.part: the beginning of a file
    OUT/.download/*.lock            which product a run fetches, and which connections are in use

Locks belong to open files, so those of a killed run are free at once. Searches pass over hidden folders, so that no
command takes an unfinished product.

Source: flock(2).
"""

import contextlib
import errno
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from etl.files import NO_LOCKS, sync_path
from etl.safe_manifest import MANIFEST

__all__ = ["Target"]

log = logging.getLogger("etl.download")

_POLL_S = 0.1


class Target:
    """A folder that products are fetched into."""

    def __init__(self, out: Path, connections: int) -> None:
        """Args: the folder; how many connections all runs into it have together."""
        self.out, self._state, self._connections = out, out / ".download", connections

    def make(self) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made.
        """
        self._state.mkdir(parents=True, exist_ok=True)

    def finished(self, stem: str) -> Path:
        """Folder of a product with all files that were asked for, which need not exist."""
        return self.out / f"{stem}.SAFE"

    def unfinished(self, stem: str) -> Path:
        """Folder in which files of a product are gathered."""
        return self._state / f"{stem}.SAFE"

    def path_of(self, stem: str, name: str) -> Path | None:
        """A file of a product, finished or not; None if it is not there."""
        paths = (self.finished(stem) / name, self.unfinished(stem) / name)
        return next((path for path in paths if path.is_file()), None)

    def finish(self, stem: str) -> None:
        """Move a product, or the files that were added to it, to its place; the manifest, which tells of all, last.

        Raises:
            OSError: it cannot be moved.
        """
        here, there = self.unfinished(stem), self.finished(stem)
        for part in here.rglob("*.part"):  # of files that an earlier run was asked for, and this one not
            part.unlink()
        for path in sorted(here.rglob("*"), reverse=True):
            if path.is_dir():
                sync_path(path)
        sync_path(here)
        if not there.exists():
            here.replace(there)
        else:
            files = [path for path in here.rglob("*") if path.is_file()]
            for path in sorted(files, key=lambda path: path.name == MANIFEST):
                place = there / path.relative_to(here)
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
            for path in sorted(here.rglob("*"), reverse=True):
                path.rmdir()
            here.rmdir()
        sync_path(self.out)

    @contextlib.contextmanager
    def connection(self, is_stopping: Callable[[], bool]) -> Iterator[None]:
        """Hold one of the connections, once one is free.

        Raises:
            InterruptedError: the run ends while none is free, as `is_stopping` tells.
        """
        while True:
            for number in range(self._connections):
                with _locked(self._state / f"connection-{number}.lock") as is_held:
                    if is_held:
                        yield
                        return
            if is_stopping():
                raise InterruptedError(errno.EINTR, "the run ends")
            time.sleep(_POLL_S)

    @contextlib.contextmanager
    def product(self, stem: str) -> Iterator[bool]:
        """Hold a product, unless another run does; gives whether it is held."""
        with _locked(self._state / f"{stem}.lock") as is_held:  # never removed, as another run may be opening it
            yield is_held


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
