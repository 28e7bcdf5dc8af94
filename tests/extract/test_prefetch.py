"""Patches prepared ahead: the same ones in order, in buffers of their own; errors and stops reach the other side."""

import threading
import time

import numpy as np
import pytest

from etl.extract.prefetch import prefetch
from etl.source.interface import SourcePatch
from etl.source.patch import Patch, PatchError


def patches(count, buffer=None, pace=None):
    """A source that gives each patch in the same buffer, as sources do."""
    window = np.zeros((2, 2, 1), np.uint16) if buffer is None else buffer
    for row in range(count):
        if pace is not None:
            pace.acquire()
        window[...] = row
        yield SourcePatch(row, PatchError("broken") if row == 3 else Patch((window,), None))


def unchanged(patch):
    """The patch itself, as prepared."""
    return patch


@pytest.mark.parametrize("workers", [1, 3])
def test_patches_come_in_order_in_buffers_of_their_own(workers):
    pause_s = iter([0.05, 0, 0.02, 0, 0, 0.03, 0, 0, 0])

    def slowly(patch):
        time.sleep(next(pause_s))
        return patch

    got = list(prefetch(patches(9), slowly, workers, depth=3))
    assert [row for row, _ in got] == list(range(9))
    for row, patch in got:
        if row == 3:
            assert isinstance(patch, PatchError)
        else:
            assert np.all(patch.native[0] == row)


def test_as_many_patches_are_prepared_at_once_as_there_are_workers():
    together = threading.Barrier(3, timeout=20)

    def meet(patch):
        together.wait()
        return patch

    assert len(list(prefetch(patches(9), meet, workers=3, depth=1))) == 9


def test_no_more_than_so_many_patches_are_decoded_ahead():
    pace = threading.Semaphore(100)
    prefetcher = prefetch(patches(50, pace=pace), unchanged, workers=2, depth=4)
    time.sleep(0.3)
    assert 100 - pace._value <= 2 + 4 + 2  # being prepared, waiting, in hand, and the one that the source has begun
    next(prefetcher)
    prefetcher.close()


def test_what_preparing_raises_is_raised_where_its_patch_is_asked_for():
    def refuse(source_patch):
        if isinstance(source_patch.patch, PatchError):
            raise ValueError("not this one")
        return source_patch

    prefetcher = prefetch(patches(9), refuse, workers=2, depth=2)
    assert [next(prefetcher)[0] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="not this one"):
        next(prefetcher)
    prefetcher.close()


def test_what_the_source_raises_is_raised_where_the_patch_is_asked_for():
    def breaking():
        yield from patches(2)
        raise RuntimeError("no more")

    prefetcher = prefetch(breaking(), unchanged, workers=1, depth=2)
    assert [next(prefetcher)[0], next(prefetcher)[0]] == [0, 1]
    with pytest.raises(RuntimeError, match="no more"):
        next(prefetcher)
    with pytest.raises(StopIteration):
        next(prefetcher)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_closing_ends_the_threads_whether_they_wait_or_work(taken):
    before = set(threading.enumerate())
    prefetcher = prefetch(patches(1000), unchanged, workers=2, depth=2)
    for _ in range(taken):
        next(prefetcher)
    prefetcher.close()
    assert set(threading.enumerate()) <= before
