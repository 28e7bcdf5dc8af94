"""The lock that keeps two runs from writing one store: here a lock file, in a bucket a lease (`etl.store.lease`).

Every writing process holds the lock file, so that after a killed mpirun it stays locked until the last rank is gone.
Processes of a host that is cut off or frozen may never go: the watchdog that ends their run notes that in the lock
file, and the next run then locks a new file in its place.

Source: flock(2).
"""

import fcntl
import logging
import os
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from etl.exit_status import JobError
from etl.files import NO_LOCKS, close_synced
from etl.store.errors import TakenOverError
from etl.store.location import Location

__all__ = ["FileLock", "StoreLock"]

log = logging.getLogger(__name__)

_ENDED = b"ended: "
"""How a lock file begins whose run has been ended by its watchdog; the reason follows."""

_DETACH = b"to be detached"
"""How a lock file begins that has replaced another one, until the store is detached."""

_MOST_BYTES = 4096


class StoreLock(ABC):
    """Lock of one store. Rank 0 calls `acquire`, then the other ranks call `acquire_shared`; all call `release`."""

    timeout_s, poll_s = 20.0, 0.1  # how long `acquire` waits for another run, and between two tries

    took_over = False
    """Whether processes of an ended run may still have the store open: `Backend.detach` it, then call `detached`."""

    def __init__(self, store: Location) -> None:
        self.location = store.sibling(store.name + ".lock")

    def require_not_replaced(self) -> None:  # noqa: B027  # each put of a run in a bucket has a condition
        """On any rank: raise a TakenOverError if another run has replaced the lock, as this one was ended."""

    def detached(self) -> None:  # noqa: B027  # only a file can be held by processes that never go
        """Note that no process of an ended run can change the store any more."""

    def mark_ended(self, reason: str) -> None:  # noqa: B027  # a lease ends by itself
        """Note that all ranks of this run end, some perhaps late. OSError: it cannot be written."""

    def acquire(self, timeout_s: float | None = None) -> None:
        """Wait until no other run writes the store, at most `timeout_s` seconds, then hold the lock.

        Raises:
            ValueError: another run still writes the store.
            OSError: the bucket cannot be reached.
        """
        deadline = time.monotonic() + (self.timeout_s if timeout_s is None else timeout_s)
        while not self._try_acquire():
            if time.monotonic() > deadline:
                raise ValueError(
                    f"{self.location} is held by another run that still writes the store; wait for it or end it"
                )
            time.sleep(self.poll_s)

    def acquire_shared(self) -> None:  # noqa: B027  # a lease is held by rank 0 for all ranks
        """Hold the lock together with rank 0, which has acquired it."""

    @abstractmethod
    def release(self) -> None:
        """Let another run acquire the lock."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # after any other error, other ranks may still write until the job is ended
        if kind is None or issubclass(kind, JobError):
            self.release()

    @abstractmethod
    def _try_acquire(self) -> bool:
        """Acquire the lock without waiting; False if another run holds it."""


class FileLock(StoreLock):
    """A lock file that every writing process holds shared; `acquire` holds it exclusively for a moment.

    Ranks outlive a killed mpirun by up to a second. On a file system without locks every run gets the lock, and a
    warning says so.
    """

    ended_timeout_s = 5.0
    """How long `acquire` waits for processes of a run that its watchdog has ended."""

    def __init__(self, store: Location) -> None:
        super().__init__(store)
        self._fd = self._open(self.location.path)
        self._has_no_locks = False

    def acquire(self, timeout_s: float | None = None) -> None:
        """Do what `StoreLock.acquire` does; without `timeout_s`, replace a lock file that an ended run still holds."""
        try:
            super().acquire(self.ended_timeout_s if timeout_s is None and self._says(_ENDED) else timeout_s)
        except ValueError:
            if timeout_s is not None or not self._says(_ENDED) or not self._replace():
                raise

    def acquire_shared(self) -> None:
        """Hold the lock together with the other ranks."""
        self._flock(self._fd, fcntl.LOCK_SH)

    def require_not_replaced(self) -> None:
        """Raise a TakenOverError if another run has replaced the lock file."""
        if self.location.path.exists() and not self._is_current():  # a person may have removed it
            raise TakenOverError(f"another run has taken the store over: it has replaced {self.location}")

    def detached(self) -> None:
        """Take from the lock file that the store is to be detached."""
        os.ftruncate(self._fd, 0)
        self.took_over = False

    def mark_ended(self, reason: str) -> None:
        """Write to the lock file that all ranks of this run end; who takes the lock takes this away."""
        if self._says(_DETACH):
            return
        os.pwrite(self._fd, _ENDED + reason.encode(errors="replace")[:_MOST_BYTES] + b"\n", 0)
        os.fsync(self._fd)

    def release(self) -> None:
        """Close the lock file; it is not removed, as another process may have it open."""
        close_synced(self._fd)

    def _open(self, path: Path) -> int:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def _is_current(self, path: Path | None = None) -> bool:
        """Whether the file that is open is the one at its path."""
        try:
            return os.path.samestat((path or self.location.path).stat(), os.fstat(self._fd))
        except FileNotFoundError:
            return False

    def _says(self, start: bytes) -> bool:
        """Whether the lock file begins so."""
        return os.pread(self._fd, len(start), 0) == start

    def _try_acquire(self) -> bool:
        if not self._is_current():  # another run has replaced it
            close_synced(self._fd)
            self._fd = self._open(self.location.path)
        # converted to a shared lock, which the other ranks can join
        if not self._flock(self._fd, fcntl.LOCK_EX) or not self._is_current():
            return False
        if self._has_no_locks:
            if self._says(_ENDED):
                return False
            log.warning(
                "%s: its file system has no locks; make sure yourself that no other run writes this store. If HDF5 "
                "cannot lock files either, set HDF5_USE_FILE_LOCKING=FALSE",
                self.location,
            )
        self.took_over = self._says(_DETACH)  # a run was killed meanwhile
        if not self.took_over:
            os.ftruncate(self._fd, 0)
        return self._flock(self._fd, fcntl.LOCK_SH)

    def _replace(self) -> bool:
        """Lock a new file and give it the lock file's name; False if another run is just doing so, or has done."""
        held, path = self._fd, self.location.path
        following = path.with_name(f"{path.name}.next")
        self._fd = self._open(following)
        taken = (
            self._flock(self._fd, fcntl.LOCK_EX)
            and self._is_current(following)
            and os.path.samestat(path.stat(), os.fstat(held))
        )
        if not taken:
            close_synced(self._fd)
            self._fd = held
            return False
        os.pwrite(self._fd, _DETACH, 0)
        os.fsync(self._fd)
        following.replace(path)
        close_synced(held)
        self.took_over = True
        return self._flock(self._fd, fcntl.LOCK_SH)

    def _flock(self, fd: int, operation: int) -> bool:
        try:
            fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise OSError(error.errno, error.strerror, str(self.location)) from None
            self._has_no_locks = True
        return True
