"""The lock that keeps two runs from writing one store: a lock file on a file system, a lease object in a bucket.

Every writing process holds the lock file, so that after a killed mpirun it stays locked until the last rank is gone. A
lease is held by rank 0 alone: an object that names the writing process and the time at which the lease ends. The other
ranks need none, because a rank that outlives the run can only put a whole shard with the same bytes.

Source: flock(2); Amazon S3 User Guide, conditional writes (`If-None-Match`, `If-Match`).
"""

import contextlib
import fcntl
import json
import os
import platform
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from etl.store.location import Location

__all__ = ["FileLock", "Lease", "StoreLock", "open_lock"]

_LEASE_S, _RENEW_S = 60.0, 15.0  # three renewals may fail before another run may take over


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

    @abstractmethod
    def _try_acquire(self) -> bool:
        """Acquire the lock without waiting; False if another run holds it."""


def open_lock(store: Location) -> StoreLock:
    """The lock of the store at `store`, not yet held: a lease in a bucket, a lock file elsewhere.

    Raises:
        OSError: the folder or bucket cannot be reached.
    """
    return Lease(store) if store.is_remote else FileLock(store)


class FileLock(StoreLock):
    """A lock file that every writing process holds shared; `acquire` holds it exclusively for a moment.

    Ranks outlive a killed mpirun by up to a second. On a file system without locks every run gets the lock.
    """

    def __init__(self, store: Location) -> None:
        super().__init__(store)
        self._fd = os.open(self.location.path, os.O_RDWR | os.O_CREAT, 0o666)

    def acquire_shared(self) -> None:
        """Hold the lock together with the other ranks."""
        self._flock(fcntl.LOCK_SH)

    def release(self) -> None:
        """Close the lock file; it is not removed, as another process may have it open."""
        os.close(self._fd)

    def _try_acquire(self) -> bool:
        # converted to a shared lock, which the other ranks can join
        return self._flock(fcntl.LOCK_EX) and self._flock(fcntl.LOCK_SH)

    def _flock(self, operation: int) -> bool:
        try:
            fcntl.flock(self._fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # no locks on this file system, e.g. Lustre mounted without -o flock
        return True


class Lease(StoreLock):
    """A lease in a bucket, renewed by a thread while rank 0 holds it.

    The lease of a killed run ends at its time, or at once if the run's process was on this host.
    """

    timeout_s, poll_s = _LEASE_S + 10.0, 0.5

    def __init__(self, store: Location) -> None:
        from etl.store.object_store import VersionedObject  # TensorStore takes 25 MiB on every rank

        super().__init__(store)
        self._object = VersionedObject(self.location)
        self._owner = {"host": platform.node(), "pid": os.getpid(), "started": _start_time(os.getpid())}
        self._held = False
        self._released = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="lease", daemon=True)

    def release(self) -> None:
        """Remove the object if this run still holds the lease."""
        self._released.set()
        if self._renewal.is_alive():
            self._renewal.join()  # a renewal on its way would write the object again
        if self._held:
            with contextlib.suppress(OSError):  # an object that stays ends at its time
                self._object.write(None)

    def _try_acquire(self) -> bool:
        lease = _parse(self._object.read())
        self._held = self._is_own(lease) or (self._has_ended(lease) and self._write())
        if self._held:
            self._renewal.start()
        return self._held

    def _write(self) -> bool:
        lease = {**self._owner, "until": time.time() + _LEASE_S}
        return self._object.write(json.dumps(lease).encode())

    def _renew(self) -> None:
        while self._held and not self._released.wait(_RENEW_S):
            with contextlib.suppress(OSError):  # the next renewal may succeed
                # A write whose answer was lost is tried again, and then refused because the first one succeeded.
                self._held = self._write() or self._is_own(_parse(self._object.read()))

    def _is_own(self, lease: Mapping[str, Any]) -> bool:
        return self._owner.items() <= lease.items()

    def _has_ended(self, lease: Mapping[str, Any]) -> bool:
        """Whether the lease's time or its process has ended; True also for an object that is not a lease."""
        try:
            if time.time() > lease["until"]:
                return True
            return bool(lease["host"] == self._owner["host"] and lease["started"] != _start_time(lease["pid"]))
        except (KeyError, TypeError, ValueError):
            return True


def _parse(data: bytes | None) -> dict[str, Any]:
    """The content of a lease object; empty if it is missing or not a lease."""
    try:
        lease = json.loads(data or b"{}")
    except ValueError:
        return {}
    return lease if isinstance(lease, dict) else {}


def _start_time(pid: int) -> float | None:
    """When the process `pid` of this host started, in seconds since 1970; None if there is none."""
    import psutil  # here, as only a lease needs it: it takes 2 MiB on every rank

    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None
