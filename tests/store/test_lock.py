"""A lock file whose run has been ended, while some of its processes never go."""

import os

import pytest

from etl.store.backend import backend_of
from etl.store.errors import TakenOverError
from etl.store.location import Location
from etl.store.lock import FileLock


@pytest.fixture
def location(tmp_path, monkeypatch):
    monkeypatch.setattr(FileLock, "timeout_s", 0.3)
    monkeypatch.setattr(FileLock, "ended_timeout_s", 0.3)
    return Location.parse(tmp_path / "store.h5")


def held(location):
    """The lock of a rank of another run."""
    lock = FileLock(location)
    lock.acquire()
    return lock


def test_a_run_that_has_been_ended_loses_its_lock_though_it_holds_the_file(location):
    earlier = held(location)
    earlier.mark_ended("rank 2 of 3 does not run")
    earlier.require_not_replaced()
    later = FileLock(location)
    later.acquire()
    assert later.took_over
    with pytest.raises(TakenOverError, match="another run has taken the store over"):
        earlier.require_not_replaced()
    later.require_not_replaced()
    later.detached()
    with pytest.raises(ValueError, match="held by another run"):
        FileLock(location).acquire()
    earlier.mark_ended("too late")
    with pytest.raises(ValueError, match="held by another run"):
        FileLock(location).acquire()


def test_a_run_that_has_not_been_ended_keeps_its_lock(location):
    earlier = held(location)
    with pytest.raises(ValueError, match="held by another run"):
        FileLock(location).acquire()
    earlier.require_not_replaced()


def test_a_run_whose_lock_file_is_removed_goes_on(location):
    lock = held(location)
    location.path.with_name("store.h5.lock").unlink()
    lock.require_not_replaced()


def test_an_ended_run_without_processes_leaves_nothing_to_detach(location):
    earlier = held(location)
    earlier.mark_ended("a block hung")
    earlier.release()
    later = held(location)
    assert not later.took_over
    with pytest.raises(ValueError, match="held by another run"):  # the note is gone
        FileLock(location).acquire()


def test_a_store_that_a_killed_run_did_not_detach_is_detached_by_the_next(location):
    earlier = held(location)
    earlier.mark_ended("rank 0 of 3 does not run")
    later = held(location)
    assert later.took_over
    later.mark_ended("it hangs, too")  # while it copies the store
    later.release()
    last = held(location)
    assert last.took_over
    last.detached()
    last.release()
    assert not held(location).took_over


def test_whoever_waits_while_another_replaces_the_file_does_not_get_the_old_one(location):
    earlier = held(location)
    waiting = FileLock(location)
    earlier.mark_ended("rank 2 of 3 does not run")
    later = held(location)
    assert later.took_over
    later.detached()
    earlier.release()
    with pytest.raises(ValueError, match="held by another run"):
        waiting.acquire()
    later.release()
    waiting.acquire()
    waiting.require_not_replaced()


def test_a_watchdog_that_only_notes_a_unit_replaces_nothing(location):
    earlier = held(location)
    earlier.mark_ended("rank 2 of 3 does not run")
    with pytest.raises(ValueError, match="held by another run"):
        FileLock(location).acquire(0)


def test_what_has_a_detached_store_open_changes_only_the_old_file(location):
    location.path.write_bytes(b"rows" * 100_000)
    location.path.chmod(0o640)
    fd = os.open(location.path, os.O_RDWR)
    backend_of(location).detach()
    os.pwrite(fd, b"late", 0)
    os.close(fd)
    assert location.path.read_bytes() == b"rows" * 100_000
    assert location.path.stat().st_mode & 0o777 == 0o640
