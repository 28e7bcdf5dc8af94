"""The stream: stored bytes in the dealt order, and memory that is used again only when nobody holds it any more."""

import gc
import os
import subprocess
import sys
import time
import weakref
from collections import deque

import h5py
import numpy as np
import psutil
import pytest
import tensorflow as tf
from stores import TRAIN, VAL, training_store

from trainer.config import band_selections
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, select_rows
from trainer.data.stream import READERS, BatchStream, BufferPool

POISON = 0xFFFF
"""No stored value of `training_store`."""


@pytest.fixture
def stored(tmp_path):
    """A path, and the arrays that lie there."""
    path = tmp_path / "store.h5"
    return path, training_store(path, [TRAIN, VAL, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN, VAL])


def poisoned(rows, batch):
    """Pools whose buffers are overwritten as soon as they come back, and the list of what came back."""
    came = []

    def poison(memory):
        memory.fill(POISON)
        came.append(memory)

    return [BufferPool((batch, *item.row_shape), poison) for item in rows.pixels], came


@pytest.mark.parametrize("bands", ["rgb", "all", "native", "B02,B8A"])
def test_every_data_set_is_delivered_as_stored_with_labels_weights_and_places(stored, bands):
    path, arrays = stored
    rows = select_rows(path, RowSelection(band_selections(bands)))
    sampler = DistributedSampler(len(rows), batch=2, size=2, seed=3)
    for rank in range(2):
        steps = range(1, 3 * sampler.steps_per_epoch)  # from amid an epoch, over the ends of epochs
        found = list(BatchStream(rows, 2, lambda step, rank=rank: sampler.rank_batch(step, rank))(steps))
        assert len(found) == len(steps)
        for step, (pixels, labels, weights, places) in zip(steps, found, strict=True):
            share = sampler.rank_batch(step, rank)
            taken = rows.store_rows[share.positions]
            assert np.array_equal(places, share.positions)
            assert np.array_equal(labels, arrays["classes"][taken])
            assert np.array_equal(weights, share.weights)
            for item, delivered in zip(rows.pixels, pixels, strict=True):
                assert np.array_equal(delivered, arrays[item.name][taken])


@pytest.mark.parametrize("held", [0, 1, 5])
def test_memory_is_poisoned_when_it_comes_back_and_no_batch_that_is_held_ever_shows_it(stored, held):
    path, arrays = stored
    rows = select_rows(path, RowSelection(band_selections("native")))
    sampler = DistributedSampler(len(rows), batch=2, size=1, seed=5)
    buffers, came = poisoned(rows, 2)
    holding = deque()
    double = tf.function(lambda x: tf.cast(x, tf.int32) * 2)

    def check(pixels, places):
        for item, delivered in zip(rows.pixels, pixels, strict=True):
            wanted = arrays[item.name][rows.store_rows[places.numpy()]]
            assert np.array_equal(delivered, wanted)
            assert np.array_equal(double(delivered), wanted * 2)

    epochs, stream = 12, BatchStream(rows, 2, lambda step: sampler.rank_batch(step, 0), buffers)
    for epoch in range(epochs):
        steps = range(epoch * sampler.steps_per_epoch, (epoch + 1) * sampler.steps_per_epoch)
        for pixels, _, _, places in stream(steps):
            holding.append((pixels, places))
            check(pixels, places)
            if len(holding) > held:
                check(*holding.popleft())
    for pixels, places in holding:
        check(pixels, places)
    delivered = epochs * sampler.steps_per_epoch
    assert all(pool.made <= held + 2 * READERS + 4 for pool in buffers), [pool.made for pool in buffers]
    assert len(came) >= len(buffers) * (delivered - held - 2 * READERS - 4)


def test_tensorflow_takes_the_memory_without_a_copy_and_holds_it(stored):
    path, _ = stored
    rows = select_rows(path, RowSelection(band_selections("rgb")))
    sampler = DistributedSampler(len(rows), batch=2, size=1)
    buffers, came = poisoned(rows, 2)
    ((tensor,), *_), *others = BatchStream(rows, 2, lambda step: sampler.rank_batch(step, 0), buffers)(range(2))
    view = np.asarray(memoryview(tensor))
    before = view.copy()
    made = [memory for memory in buffers[0]._made if np.shares_memory(memory, view)]
    assert len(made) == 1
    del tensor, others
    assert not any(memory is made[0] for memory in came)
    assert np.array_equal(view, before)


@pytest.mark.parametrize("view_of", [lambda x: x[1:], lambda x: x.reshape(-1)[::3], lambda x: x.view(np.uint8)])
def test_a_view_of_a_buffer_keeps_it_from_being_used_again(view_of):
    pool = BufferPool((4, 3), lambda memory: memory.fill(POISON))
    handed = pool.take()
    handed[...] = 7
    view = view_of(handed)
    kept = view.copy()
    del handed
    assert np.array_equal(view, kept)
    pool.take()
    assert pool.made == 2
    del view
    pool.take()
    assert pool.made == 2


def test_a_stream_that_is_gone_leaves_neither_an_open_file_nor_memory(stored):
    path, _ = stored
    rows = select_rows(path, RowSelection(band_selections("rgb")))
    sampler = DistributedSampler(len(rows), batch=2, size=1)

    def open_files():
        return sum(found.path == str(path) for found in psutil.Process().open_files())

    pools = [poisoned(rows, 2)[0] for _ in range(4)]
    gone = [weakref.ref(pool) for (pool,) in pools]
    while pools:
        batches = BatchStream(rows, 2, lambda step: sampler.rank_batch(step, 0), pools.pop())(range(3))
        assert all(0 < open_files() <= 2 for _ in batches)  # a mapping holds a second one
        del batches
    del rows  # they hold the store open, for any number of streams
    gc.collect()
    assert open_files() == 0
    assert [ref() for ref in gone] == [None] * 4


def test_rows_that_cannot_be_read_are_an_error_of_the_stream_as_it_was_raised(stored):
    path, _ = stored
    rows = select_rows(path, RowSelection(band_selections("all")))
    sampler = DistributedSampler(len(rows), batch=2, size=1)
    with h5py.File(path) as file:
        offset = file["data_super"].id.get_offset()
    os.truncate(path, offset)
    with pytest.raises(OSError, match=r"store\.h5 is truncated: it ends before row"):
        list(BatchStream(rows, 2, lambda step: sampler.rank_batch(step, 0))(range(3)))


def test_a_program_that_ends_by_such_an_error_ends(stored):
    program = f"""
import time
from pathlib import Path
from trainer.config import band_selections
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, select_rows
from trainer.data.stream import BatchStream
rows = select_rows(Path({str(stored[0])!r}), RowSelection(band_selections("rgb")))
def share(step):
    if step == 2:
        raise OSError("broken")
    if step > 2:
        time.sleep(2)  # so that a read is on its way when one has failed
    return DistributedSampler(len(rows), 2, 1).rank_batch(step, 0)
for _ in BatchStream(rows, 2, share)(range(100)):
    pass
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("OSError: broken")


@pytest.mark.parametrize("to_the_end", [True, False])
def test_failed_reads_leave_neither_an_open_file_nor_memory(stored, to_the_end):
    path, _ = stored
    rows = select_rows(path, RowSelection(band_selections("rgb")))
    sampler, pools = DistributedSampler(len(rows), batch=2, size=1), poisoned(rows, 2)[0]

    def share(step):
        if step > 0:
            raise OSError(f"step {step}")
        return sampler.rank_batch(step, 0)

    gone = weakref.ref(pools[0])
    batches = BatchStream(rows, 2, share, pools)(range(9))
    del pools
    next(batches)
    if to_the_end:
        with pytest.raises(OSError, match="step 1"):
            next(batches)
    else:
        time.sleep(0.5)  # reads ahead fail meanwhile
    del batches, rows
    gc.collect()
    assert gone() is None
    assert not [found for found in psutil.Process().open_files() if found.path == str(path)]


@pytest.mark.slow
def test_an_epoch_that_has_ended_holds_up_nothing(stored):
    rows = select_rows(stored[0], RowSelection(band_selections("all")))
    sampler = DistributedSampler(len(rows), batch=2, size=1)
    stream = BatchStream(rows, 2, lambda step: sampler.rank_batch(step, 0))

    @tf.function
    def compute(pixels):
        return tf.reduce_mean(tf.nn.conv2d(tf.cast(pixels, tf.float32), tf.ones((3, 3, 12, 256)), 1, "SAME"))

    for _ in range(2):
        batches, begun = stream(range(10_000)), time.perf_counter()
        while time.perf_counter() < begun + 4:  # TensorFlow's own tuning would look in ever more seldom meanwhile
            compute(next(batches)[0][0]).numpy()
        start = time.perf_counter()
        del batches
        assert time.perf_counter() - start < 0.5


def test_memory_does_not_grow_over_fifty_epochs(tmp_path):
    """A batch is 2.8 MB: one that is kept in each epoch would be found."""
    training_store(tmp_path / "store.h5", [TRAIN] * 48)
    rows = select_rows(tmp_path / "store.h5", RowSelection(band_selections("all")))
    sampler = DistributedSampler(len(rows), batch=8, size=1)
    stream, process, held_mib = BatchStream(rows, 8, lambda step: sampler.rank_batch(step, 0)), psutil.Process(), []
    gc.freeze()  # what was imported: else each collection below takes half a second
    for epoch in range(50):
        assert sum(1 for _ in stream(range(epoch * 6, epoch * 6 + 6))) == 6
        gc.collect()
        used = process.memory_info()  # `shared` is the store itself, mapped
        held_mib.append((used.rss - used.shared) / 2**20)
    gc.unfreeze()
    assert max(held_mib[30:]) - max(held_mib[:15]) < 16, held_mib
