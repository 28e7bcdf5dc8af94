"""Rows of a store as a tf.data stream of whole batches, read into buffers that are used again.

TensorFlow takes an aligned array as it is, without a copy, and keeps a reference to it: a buffer goes back to the pool
only when the last array made of it is gone, whoever held it.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.data.sampler import RankBatch
from trainer.data.selection import SelectedRows

__all__ = ["READERS", "BatchStream", "BufferPool", "TensorBatch"]

READERS = 2
"""Batches that are read at the same time, and batches that wait ready."""

_ALIGN_BYTES = 64
"""Alignment that TensorFlow asks of an array to take it without a copy."""


class TensorBatch(NamedTuple):
    """One worker's rows of one step, as tensors."""

    pixels: tuple[tf.Tensor, ...]
    """Of every data set, as stored: uint16, (batch, row, col, band)."""

    labels: tf.Tensor
    """uint8, (batch, class): 0 or 1."""

    weights: tf.Tensor
    """float32, (batch,): weight of each row in the loss, see `RankBatch`."""

    positions: tf.Tensor
    """int64, (batch,): position of each row among the training rows."""


class BufferPool:
    """Memory of batches of one shape, handed out as arrays and taken back when these are gone."""

    def __init__(
        self, shape: tuple[int, ...], on_release: Callable[[npt.NDArray[np.uint16]], None] | None = None
    ) -> None:
        """`on_release` is called with a buffer that has come back, before it can be handed out again."""
        self._shape, self._on_release = shape, on_release
        # Lists, whose append and pop need no lock: an array may end on any thread, at any moment.
        self._free: list[npt.NDArray[np.uint16]] = []
        self._made: list[npt.NDArray[np.uint16]] = []

    @property
    def made(self) -> int:
        """Number of buffers that exist."""
        return len(self._made)

    def take(self) -> npt.NDArray[np.uint16]:
        """An uninitialised array of the pool's shape, dtype uint16."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = _aligned(self._shape)
            self._made.append(memory)
        # The base of a view is the last array before memory that is no array, here the memoryview. So every view of
        # the array handed out, whoever makes it, keeps `whole` alive, and the end of `whole` is the end of all.
        whole = np.frombuffer(memoryview(memory).cast("B"), np.uint16)
        weakref.finalize(whole, self._give_back, memory).atexit = False
        return whole.reshape(self._shape)

    def _give_back(self, memory: npt.NDArray[np.uint16]) -> None:
        if self._on_release is not None:
            self._on_release(memory)
        self._free.append(memory)


def _aligned(shape: tuple[int, ...]) -> npt.NDArray[np.uint16]:
    size = int(np.prod(shape)) * 2
    raw = np.empty(size + _ALIGN_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGN_BYTES
    return raw[start : start + size].view(np.uint16).reshape(shape)


class BatchStream:
    """Batches of one worker, in the order of the steps that are asked for.

    Reads the store itself: without HDF5 where it is contiguous, and without holding the GIL.
    """

    def __init__(
        self,
        rows: SelectedRows,
        batch: int,
        batch_at: Callable[[int], RankBatch],
        buffers: Sequence[BufferPool] | None = None,
    ) -> None:
        """`batch_at` says which rows a step takes, always `batch`; `buffers`: one pool a data set."""
        self._rows, self._batch, self._batch_at = rows, batch, batch_at
        self._buffers = buffers or [BufferPool((batch, *item.row_shape)) for item in rows.pixels]

    def __call__(self, steps: range) -> Iterator[TensorBatch]:
        """The batch of each step, in order; dtypes and shapes as in `TensorBatch`.

        Raises:
            OSError: rows cannot be read.
        """
        options = tf.data.Options()
        options.threading.private_threadpool_size = READERS  # reading goes on where a step holds every other thread
        options.autotune.enabled = False  # needless, and an iterator that ends may wait a minute for its thread
        numbers, failed = tf.data.Dataset.range(steps.start, steps.stop).with_options(options), dict[int, Exception]()
        load = tf.autograph.experimental.do_not_convert(self._loader(failed))  # plain calls: nothing to convert
        batches = iter(numbers.map(load, num_parallel_calls=READERS, deterministic=True).prefetch(READERS))
        try:
            yield from batches
        except tf.errors.OpError:
            if not failed:
                raise
        finally:
            del batches  # TensorFlow waits for its readers, which would wait for ever once Python is torn down
            first = [failed[step] for step in sorted(failed)[:1]]
            failed.clear()  # TensorFlow keeps the function that fills it
        if first:
            raise first.pop()

    def _loader(self, failed: dict[int, Exception]) -> Callable[[tf.Tensor], TensorBatch]:
        """What TensorFlow calls for a step; `failed` takes what a read raises, of which it would keep only the text."""
        batch, pixels, classes = self._batch, self._rows.pixels, self._rows.labels.shape[1]
        types = [*[tf.uint16] * len(pixels), tf.uint8, tf.float32, tf.int64]
        shapes = [*[(batch, *item.row_shape) for item in pixels], (batch, classes), (batch,), (batch,)]
        # TensorFlow keeps every function that a graph ever called for ever: this one must not hold the stream.
        weak_self = weakref.ref(self)

        def fetch(step: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
            stream = weak_self()
            if stream is None:
                raise OSError("the stream is closed")
            try:
                return stream._fetch(int(step))
            except Exception as error:
                failed[int(step)] = error
                raise

        def load(step: tf.Tensor) -> TensorBatch:
            arrays = tf.numpy_function(fetch, [step], types)
            *shaped, labels, weights, positions = map(tf.ensure_shape, arrays, shapes)
            return TensorBatch(tuple(shaped), labels, weights, positions)

        return load

    def _fetch(self, step: int) -> tuple[npt.NDArray[Any], ...]:
        chosen, pixels = self._batch_at(step), []
        for item, pool in zip(self._rows.pixels, self._buffers, strict=True):
            out = pool.take()
            self._rows.reader.read_rows(item.name, self._rows.numbers[chosen.positions], out)
            pixels.append(out)
        return (*pixels, self._rows.labels[chosen.positions], chosen.weights, chosen.positions)
