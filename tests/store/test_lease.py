"""The lease of a store in a bucket: who holds it, when it ends, and that no clock but the reader's own decides."""

import json
import subprocess
import threading
import time

import pytest
from object_server import ObjectServer

from etl.store.errors import TakenOverError
from etl.store.lease import Lease
from etl.store.location import Location

STORE = Location.parse("s3://bucket/store.zarr")
KEY = "store.zarr.lock"


@pytest.fixture
def server(monkeypatch):
    from etl.store.object_store import _open_key_value_store

    with ObjectServer() as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        _open_key_value_store.cache_clear()
        yield running
    _open_key_value_store.cache_clear()


def lease_of(server, **changes):
    """A lease object with these fields changed."""
    held = Lease(STORE)
    held.acquire()
    found = json.loads(server.objects[KEY])
    held.release()
    return json.dumps({**found, **changes}).encode()


def test_a_released_lease_is_free_at_once_and_its_object_stays(server):
    for _ in range(3):
        held = Lease(STORE, lease_s=5)
        start = time.monotonic()
        held.acquire()
        held.require_held()
        held.release()
        assert time.monotonic() - start < 3
        assert json.loads(server.objects[KEY])["released"] is True


def test_a_lease_that_is_renewed_is_never_taken(server):
    held = Lease(STORE, lease_s=1.0)
    held.acquire()
    with pytest.raises(ValueError, match=r"store.zarr.lock is held by another run"):
        Lease(STORE, lease_s=1.0).acquire(timeout_s=2.5)
    held.require_held()
    held.release()


def test_a_lease_that_is_not_renewed_is_taken_when_its_time_is_over_and_its_run_is_told(server):
    goes_on = threading.Event()
    stopped, later = Lease(Location.parse("s3://stopped/store.zarr"), lease_s=1.0), Lease(STORE, lease_s=1.0)
    stopped.acquire()
    server.before = lambda run, method, key: goes_on.wait() if run == "stopped" else None
    start = time.monotonic()
    later.acquire(timeout_s=10)
    assert 0.9 < time.monotonic() - start < 5
    goes_on.set()
    until = time.monotonic() + 10
    while not stopped.lost and time.monotonic() < until:
        time.sleep(0.05)
    assert "its lease was not renewed in time, and is now held by process" in stopped.lost
    with pytest.raises(TakenOverError, match="now held by process"):
        stopped.require_held()
    left = server.objects[KEY]
    stopped.release()
    assert server.objects[KEY] == left or json.loads(server.objects[KEY])["run"] == json.loads(left)["run"]
    later.require_held()
    later.release()


@pytest.mark.parametrize("clock", [-1e9, 1e9])
def test_the_clock_of_the_other_host_does_not_matter(server, clock):
    """`until` is what earlier versions compared with their own clock."""
    server.objects[KEY] = lease_of(server, host="elsewhere", machine="other", until=time.time() + clock, released=False)
    with pytest.raises(ValueError, match="held by another run"):
        Lease(STORE, lease_s=2.0).acquire(timeout_s=1.0)


def test_the_lease_of_a_killed_process_of_this_machine_ends_at_once(server):
    with subprocess.Popen(["sleep", "60"]) as process:
        started = int(open(f"/proc/{process.pid}/stat").read().rpartition(")")[2].split()[19])  # noqa: PTH123, SIM115
        server.objects[KEY] = lease_of(server, pid=process.pid, started=started, released=False)
        with pytest.raises(ValueError, match="held by another run"):
            Lease(STORE, lease_s=60).acquire(timeout_s=0.5)
        process.kill()
    held = Lease(STORE, lease_s=60)
    held.acquire(timeout_s=2)
    held.release()


@pytest.mark.parametrize("data", [b"", b"nonsense", b"[]", b"{}", b"[" * 100_000])
def test_an_object_that_is_no_lease_keeps_nobody_waiting(server, data):
    server.objects[KEY] = data
    held = Lease(STORE, lease_s=60)
    held.acquire(timeout_s=2)
    held.release()


@pytest.mark.parametrize(
    "fields", [{"lease_s": "long"}, {"lease_s": float("nan")}, {"lease_s": -1}, {"pid": "x", "lease_s": 0.4}]
)
def test_odd_fields_of_a_lease_are_no_reason_to_fail(server, fields):
    server.objects[KEY] = lease_of(server, machine="other", released=False, **fields)
    held = Lease(STORE, lease_s=0.4)
    held.acquire(timeout_s=5)
    held.release()


def test_a_server_that_ignores_conditions_is_refused(server):
    server.honours_conditions = False
    with pytest.raises(ValueError, match="must honour conditions of writes"):
        Lease(STORE).acquire()
