"""Decoding ahead: the same patches in order, in buffers of their own; errors and stops reach the other side."""

import threading
import time

import numpy as np
import pytest

from etl.extract.ahead import Ahead
from etl.source.patch import Patch, PatchError


def patches(count, buffer=None, pace=None):
    """A source that gives each patch in the same buffer, as sources do."""
    window = np.zeros((2, 2, 1), np.uint16) if buffer is None else buffer
    for row in range(count):
        if pace is not None:
            pace.acquire()
        window[...] = row
        yield row, PatchError("broken") if row == 3 else Patch((window,), None)


def test_patches_come_in_order_in_buffers_of_their_own():
    got = list(Ahead(patches(9), depth=3))
    assert [row for row, _ in got] == list(range(9))
    for row, patch in got:
        if row == 3:
            assert isinstance(patch, PatchError)
        else:
            assert np.all(patch.native[0] == row)


def test_no_more_than_so_many_patches_are_decoded_ahead():
    pace = threading.Semaphore(100)
    ahead = Ahead(patches(50, pace=pace), depth=4)
    time.sleep(0.3)
    assert 100 - pace._value <= 4 + 2  # waiting, in hand, and the one that the source has begun
    next(ahead)
    ahead.close()


def test_what_the_source_raises_is_raised_where_the_patch_is_asked_for():
    def breaking():
        yield from patches(2)
        raise RuntimeError("no more")

    ahead = Ahead(breaking(), depth=2)
    assert [next(ahead)[0], next(ahead)[0]] == [0, 1]
    with pytest.raises(RuntimeError, match="no more"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_ends_the_thread_whether_it_waits_or_works(taken):
    ahead = Ahead(patches(1000), depth=2)
    for _ in range(taken):
        next(ahead)
    ahead.close()
    assert "decoder" not in [thread.name for thread in threading.enumerate() if thread is ahead._thread]
    assert not ahead._thread.is_alive()
