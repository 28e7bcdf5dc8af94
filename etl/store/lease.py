"""The lock of a store in a bucket: an object that says who writes, and until when that is so.

Rank 0 holds it and renews it from a thread of its own; the others need none, because what a late rank still puts is a
whole shard with the same bytes. A run that was killed on this host is known by its process, on another one by time.

Source: Amazon S3 User Guide, conditional writes (`If-None-Match`, `If-Match`).
"""

import contextlib
import json
import os
import platform
import threading
import time
from pathlib import Path

import psutil

from etl.store.location import shown
from etl.store.object_store import FAILS, explained, key_value_store

__all__ = ["Lease"]

LEASE_S, RENEW_S = 60.0, 15.0


class Lease:
    """What rank 0 holds while a run writes a store in a bucket."""

    def __init__(self, store: Path) -> None:
        self._path = store.with_name(store.name + ".lock")
        self._objects = key_value_store(store.parent)
        self._generation = b""
        self._ended = threading.Event()
        self._renewing = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._me = {"host": platform.node(), "pid": os.getpid(), "started": psutil.Process().create_time()}

    def take_over(self, patience_s: float = LEASE_S + 10.0) -> None:
        """Wait until no other run writes the store, then hold the lease until `release`.

        Raises:
            ValueError: another run still writes after `patience_s` seconds.
            OSError: the bucket cannot be reached.
        """
        until = time.monotonic() + patience_s
        while not self._try():
            if time.monotonic() > until:
                raise ValueError(
                    f"{shown(self._path)} is held by another run that still writes the store; wait for it or end it"
                )
            time.sleep(0.5)
        self._renewing.start()

    def share(self) -> None:
        """Nothing: the lease is rank 0's."""

    def release(self) -> None:
        """Let go: the object goes."""
        self._ended.set()
        if self._generation:
            self._renewing.join()  # a renewal on its way would leave the object to the next generation
            with contextlib.suppress(*FAILS):
                self._objects.write(self._path.name, None, if_equal=self._generation).result()

    def _try(self) -> bool:
        """Put the lease where there is none, or in place of one that has ended."""
        with explained(self._path):
            found = self._objects.read(self._path.name).result()
            if found.state == "value" and not self._over(found.value):
                return False
            self._generation = self._put(found.stamp.generation)
        return bool(self._generation)

    def _put(self, replaced: bytes) -> bytes:
        """The new generation; empty where another run came before."""
        said = json.dumps({**self._me, "until": time.time() + LEASE_S})
        return bytes(self._objects.write(self._path.name, said.encode(), if_equal=replaced).result().generation)

    def _over(self, data: bytes) -> bool:
        try:
            said = json.loads(data)
            if time.time() > said["until"]:
                return True
            if said["host"] != self._me["host"]:
                return False
            return bool(psutil.Process(said["pid"]).create_time() != said["started"])
        except psutil.NoSuchProcess:
            return True
        except (ValueError, KeyError, TypeError):
            return True

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_S):
            with contextlib.suppress(*FAILS):  # the next one may come through
                self._generation = self._put(self._generation) or self._generation
