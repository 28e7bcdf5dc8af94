"""The lock that keeps two runs from writing one store: here a lock file, in a bucket a lease (`etl.store.lease`).

Every writing process holds the lock file, so that after a killed mpirun it stays locked until the last rank is gone.

Source: flock(2).
"""

import fcntl
import logging
import os
import time
from abc import ABC, abstractmethod
from typing import Self

from etl.exit_status import JobError
from etl.files import NO_LOCKS, close_synced
from etl.store.location import Location

__all__ = ["FileLock", "StoreLock"]

log = logging.getLogger(__name__)


class StoreLock(ABC):
    """Lock of one store. Rank 0 calls `acquire`, then the other ranks call `acquire_shared`; all call `release`."""

    timeout_s, poll_s = 20.0, 0.1  # how long `acquire` waits for another run, and between two tries

    def __init__(self, store: Location) -> None:
        self.location = store.sibling(store.name + ".lock")

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

    def __init__(self, store: Location) -> None:
        super().__init__(store)
        self._fd = os.open(self.location.path, os.O_RDWR | os.O_CREAT, 0o666)
        self._has_no_locks = False

    def acquire_shared(self) -> None:
        """Hold the lock together with the other ranks."""
        self._flock(fcntl.LOCK_SH)

    def release(self) -> None:
        """Close the lock file; it is not removed, as another process may have it open."""
        close_synced(self._fd)

    def _try_acquire(self) -> bool:
        # converted to a shared lock, which the other ranks can join
        if not self._flock(fcntl.LOCK_EX):
            return False
        if self._has_no_locks:
            log.warning(
                "%s: its file system has no locks; make sure yourself that no other run writes this store. If HDF5 "
                "cannot lock files either, set HDF5_USE_FILE_LOCKING=FALSE",
                self.location,
            )
        return self._flock(fcntl.LOCK_SH)

    def _flock(self, operation: int) -> bool:
        try:
            fcntl.flock(self._fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise OSError(error.errno, error.strerror, str(self.location)) from None
            self._has_no_locks = True
        return True
