"""Rows of a store as a tf.data stream of full batches, read into reused buffers.

TensorFlow uses an aligned array without copying it, and keeps a reference to it. So a buffer returns to the pool when
the last array that uses it is garbage collected.
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
"""Batches read in parallel, and batches kept ready (tf.data's `num_parallel_calls` and its prefetch buffer)."""

_ALIGN_BYTES = 64
"""Alignment of an array that TensorFlow can use without a copy."""


class TensorBatch(NamedTuple):
    """One worker's rows of one step, as tensors."""

    pixels: tuple[tf.Tensor, ...]
    """Of each pixel array, as stored: uint8, uint16 or float32, (batch, row, col, band)."""

    labels: tf.Tensor
    """uint8, (batch, class): 0 or 1."""

    weights: tf.Tensor
    """float32, (batch,): weight of each row in the loss, see `RankBatch`."""

    positions: tf.Tensor
    """int64, (batch,): index of each row into the epoch's rows, see `RankBatch`."""


class BufferPool:
    """Buffers of one shape, handed out as arrays; a buffer returns when its array is garbage collected."""

    def __init__(
        self,
        shape: tuple[int, ...],
        on_release: Callable[[npt.NDArray[Any]], None] | None = None,
        dtype: str = "uint16",
    ) -> None:
        """`on_release` is called with a buffer that has returned, before it can be handed out again."""
        self._shape, self._on_release, self._dtype = shape, on_release, np.dtype(dtype)
        # A list's append and pop need no lock; an array may be garbage collected on any thread, at any moment.
        self._free: list[npt.NDArray[Any]] = []
        self._made: list[npt.NDArray[Any]] = []

    @property
    def made(self) -> int:
        """Number of buffers that exist."""
        return len(self._made)

    def take(self) -> npt.NDArray[Any]:
        """An uninitialised array of the pool's shape and dtype."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = _aligned(self._shape, self._dtype)
            self._made.append(memory)
        # numpy sets the base of every view to the array that wraps the memoryview, `whole`. So `whole` lives as long as
        # any view of it, and its finaliser runs when the last view is gone.
        whole = np.frombuffer(memoryview(memory).cast("B"), self._dtype)
        weakref.finalize(whole, self._return_buffer, memory).atexit = False
        return whole.reshape(self._shape)

    def _return_buffer(self, memory: npt.NDArray[Any]) -> None:
        if self._on_release is not None:
            self._on_release(memory)
        self._free.append(memory)


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.empty(size + _ALIGN_BYTES, np.uint8)
    start = -raw.ctypes.data % _ALIGN_BYTES
    return raw[start : start + size].view(dtype).reshape(shape)


class BatchStream:
    """Batches of one worker, read from the store by background threads that do not hold the GIL while they read."""

    def __init__(
        self,
        rows: SelectedRows,
        batch: int,
        batch_at: Callable[[int], RankBatch],
        buffers: Sequence[BufferPool] | None = None,
    ) -> None:
        """`batch_at` gives the positions of a step, always `batch` of them, as indices into `rows`.

        `buffers`: one pool per pixel array; None to create them.
        """
        self._rows, self._batch, self._batch_at = rows, batch, batch_at
        self._buffers = buffers or [BufferPool((batch, *item.row_shape), dtype=item.dtype) for item in rows.pixels]

    def __call__(self, steps: range) -> Iterator[TensorBatch]:
        """The batch of each step, in order; dtypes and shapes as in `TensorBatch`.

        Raises:
            OSError: rows cannot be read.
        """
        options = tf.data.Options()
        options.threading.private_threadpool_size = READERS  # else a step could occupy all threads and stop reading
        options.autotune.enabled = False  # not needed, and its thread can delay the end of an iterator by a minute
        numbers, errors = tf.data.Dataset.range(steps.start, steps.stop).with_options(options), dict[int, Exception]()
        load = tf.autograph.experimental.do_not_convert(self._loader(errors))  # plain calls: nothing to convert
        batches = iter(numbers.map(load, num_parallel_calls=READERS, deterministic=True).prefetch(READERS))
        try:
            yield from batches
        except tf.errors.OpError:
            if not errors:
                raise
        finally:
            del batches  # TensorFlow waits for its readers, which would wait for ever after Python's shutdown
            first = [errors[step] for step in sorted(errors)[:1]]
            errors.clear()  # TensorFlow never releases the function that refers to this dictionary
        if first:
            raise first.pop()

    def _loader(self, errors: dict[int, Exception]) -> Callable[[tf.Tensor], TensorBatch]:
        """The function that TensorFlow calls for each step.

        An exception is stored in `errors`, by step, because TensorFlow would keep only its text.
        """
        batch, pixels, classes = self._batch, self._rows.pixels, self._rows.labels.shape[1]
        types = [*(tf.as_dtype(item.dtype) for item in pixels), tf.uint8, tf.float32, tf.int64]
        shapes = [*[(batch, *item.row_shape) for item in pixels], (batch, classes), (batch,), (batch,)]
        # TensorFlow never releases a Python function that a graph has called: this one must not hold the stream.
        weak_self = weakref.ref(self)

        def fetch(step: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
            """The arrays of one step, for TensorFlow."""
            stream = weak_self()
            if stream is None:
                raise OSError(f"batches cannot be read: the stream was closed before step {int(step)}")
            try:
                return stream._fetch(int(step))
            except Exception as error:
                errors[int(step)] = error
                raise

        def load(step: tf.Tensor) -> TensorBatch:
            arrays = tf.numpy_function(fetch, [step], types)
            *shaped, labels, weights, positions = map(tf.ensure_shape, arrays, shapes)
            return TensorBatch(tuple(shaped), labels, weights, positions)

        return load

    def _fetch(self, step: int) -> tuple[npt.NDArray[Any], ...]:
        """Pixels of each array, labels, weights and positions of one step; shapes and dtypes as in `TensorBatch`."""
        batch, pixels = self._batch_at(step), []
        for item, pool in zip(self._rows.pixels, self._buffers, strict=True):
            out = pool.take()
            self._rows.reader.read_rows(item.name, self._rows.store_rows[batch.positions], out)
            pixels.append(out)
        return (*pixels, self._rows.labels[batch.positions], batch.weights, batch.positions)
