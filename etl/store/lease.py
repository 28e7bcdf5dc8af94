"""The lock of a store in a bucket: an object that the writing run renews, and which another run may then take over.

A lease keeps two runs from working on one store at the same time. It cannot keep a run that was paused from writing
later: `etl.store.fencing` does that.

The age of a lease is the time for which a waiting run has seen the object unchanged, by its own monotonic clock: clocks
of different hosts are never compared.

Source: Amazon S3 User Guide, conditional writes (`If-None-Match`, `If-Match`); proc(5), /proc/PID/stat.
"""

import contextlib
import json
import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from etl.store.errors import TakenOverError
from etl.store.location import Location
from etl.store.lock import StoreLock

__all__ = ["LEASE_S", "Lease"]

_log = logging.getLogger(__name__)

LEASE_S = 60.0
"""Seconds after which a lease that is not renewed may be taken over; it is renewed four times as often."""


class Lease(StoreLock):
    """A lease in a bucket, renewed by a thread while rank 0 holds it; released, its object stays.

    The lease of a killed run ends `lease_s` after it was last renewed, or at once if the run's process was on this
    machine.
    """

    poll_s = 0.5

    def __init__(self, store: Location, lease_s: float = LEASE_S) -> None:
        super().__init__(store)
        self.timeout_s, self._lease_s = lease_s + 10.0, lease_s
        self.poll_s = min(type(self).poll_s, lease_s / 8)
        process = os.getpid()
        place = {"host": platform.node(), "machine": _machine(), "pid": process, "started": _start_ticks(process)}
        self._owner = {"run": secrets.token_hex(16), **place}
        self._renewals = 0
        self._generation = b""
        self._watched: tuple[bytes | None, float] = (None, 0.0)  # the object, and since when it has been as it is
        self._held, self._lost = False, ""
        self._released = threading.Event()
        self._renewal = threading.Thread(target=self._renew, name="lease", daemon=True)

    def acquire(self, timeout_s: float | None = None) -> None:
        """Wait until no other run writes the store, at most `timeout_s` seconds, then hold the lease.

        Raises:
            ValueError: another run still writes the store; the server refuses the credentials, has no such bucket, or
                ignores conditions.
            OSError: the server does not answer.
        """
        from etl.store.object_store import RefusedError  # TensorStore takes 25 MiB on every rank

        try:
            super().acquire(timeout_s)
            self._require_conditions()
        except (RefusedError, FileNotFoundError) as error:
            raise ValueError(str(error)) from None
        self._held = True
        self._renewal.start()

    def release(self) -> None:
        """Mark the object as released if this run still holds the lease."""
        self._released.set()
        if self._renewal.is_alive():
            self._renewal.join()  # a renewal on its way would write the object again
        if self._held:
            with contextlib.suppress(OSError):  # an object that stays ends at its time
                self._write(released=True)
        self._held = False

    @property
    def is_held(self) -> bool:
        """Whether it was acquired and not released since; another run may have taken it meanwhile."""
        return self._held

    @property
    def lost(self) -> str:
        """Why this run no longer holds the lease, as far as its last renewal found; empty if it does."""
        return self._lost

    def require_held(self) -> None:
        """Ask the server whether this run still holds the lease: whether no other has taken it since `acquire`.

        Raises:
            TakenOverError: another run has taken it.
            OSError: the server does not answer.
        """
        data, _ = self._read()
        if not self._is_own(_parse(data)):
            self._lost = self._lost or f"the lease is now held by {_described(data)}"
        if self._lost:
            raise TakenOverError(self._lost)

    def _try_acquire(self) -> bool:
        data, self._generation = self._read()
        lease = _parse(data)
        return self._is_own(lease) or ((self._is_free(lease) or self._has_ended(data, lease)) and self._write())

    def _read(self) -> tuple[bytes | None, bytes]:
        from etl.store.object_store import read_versions

        version = read_versions(self.location.parent, [self.location.name])[self.location.name]
        return version.data, version.generation

    def _write(self, released: bool = False) -> bool:
        """Put the lease if nobody else has since; with each put its bytes differ."""
        self._renewals += 1
        lease = {**self._owner, "renewals": self._renewals, "lease_s": self._lease_s, "released": released}
        if generation := self._put(json.dumps(lease).encode(), self._generation):
            self._generation = generation
        return bool(generation)

    def _put(self, data: bytes, condition: bytes) -> bytes:
        from etl.store.object_store import write_if_equal

        name = self.location.name
        return write_if_equal(self.location.parent, {name: data}, {name: condition})[name]

    def _require_conditions(self) -> None:
        """Put this run's own lease under conditions that are false, which the server has to refuse.

        Raises:
            ValueError: it does not.
        """
        from etl.store.object_store import ABSENT

        digits = bytes.maketrans(b"0123456789abcdef", b"123456789abcdef0")
        for condition in (ABSENT, self._generation.translate(digits)):
            if self._put(json.dumps({**self._owner, "trial": secrets.token_hex(8)}).encode(), condition):
                raise ValueError(
                    f"{self.location}: the server must honour conditions of writes (If-Match, If-None-Match), but it "
                    "put an object whose condition was false; two runs could damage the store there. Use another "
                    "server or a newer version of it, or a store on a file system"
                )

    def _renew(self) -> None:
        while not self._lost and not self._released.wait(self._lease_s / 4):
            with contextlib.suppress(OSError):  # the next renewal may succeed
                if self._write():
                    continue
                data, generation = self._read()
                if self._is_own(_parse(data)):  # an earlier renewal, whose answer was lost
                    self._generation = generation
                else:
                    self._lost = f"its lease was not renewed in time, and is now held by {_described(data)}"

    def _is_own(self, lease: Mapping[str, Any]) -> bool:
        return lease.get("run") == self._owner["run"]

    def _is_free(self, lease: Mapping[str, Any]) -> bool:
        """Whether nobody holds the lease; True also for an object that is not a lease."""
        if not lease or lease.get("released") is True:
            return True
        same_machine = bool(self._owner["machine"]) and lease.get("machine") == self._owner["machine"]
        return same_machine and not _is_running(lease.get("pid"), lease.get("started"))

    def _has_ended(self, data: bytes | None, lease: Mapping[str, Any]) -> bool:
        """Whether the object has not changed for as long as its lease lasts, by this process's clock."""
        now = time.monotonic()
        if self._watched[0] != data:
            if self._watched[0] is None:
                _log.info("waiting: %s is held by %s", self.location, _described(data))
            self._watched = (data, now)
        stated = lease.get("lease_s")
        lease_s = float(stated) if isinstance(stated, int | float) and 0 < stated <= 3600 else self._lease_s
        return now - self._watched[1] > lease_s


def _parse(data: bytes | None) -> dict[str, Any]:
    """The content of a lease object; empty if it is missing or not a lease."""
    try:
        lease = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return lease if isinstance(lease, dict) else {}


def _described(data: bytes | None) -> str:
    """Who holds a lease, for messages."""
    lease = _parse(data)
    return f"process {lease.get('pid')!s:.20} on {lease.get('host')!s:.200}" if lease else "nobody"


def _machine() -> str:
    """Names the machine since it was started, and the process ids that count there; empty if that is not known.

    A host's name does not: two containers can have the same.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_running(pid: object, started: object) -> bool:
    """Whether the process of this machine that started at `started` may still run."""
    if not isinstance(pid, int) or not 0 < pid < 1 << 31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    ticks = _start_ticks(pid)
    return ticks is None or ticks == started


def _start_ticks(pid: int) -> int | None:
    """When a process of this machine started, in clock ticks since the machine did; None if that cannot be read."""
    try:
        # the name of the process, in brackets, may hold spaces
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return None
    return -1 if state in (b"Z", b"X") else int(fields[18])  # a killed process whose parent has not noticed
