"""Rows of a store to a tf.data stream of whole batches, read into buffers that are used again.

TensorFlow takes an aligned array as it is, without a copy, and holds on to it: a buffer goes back to the pool only when
the last array made of it is gone, whoever held it.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.data.sampler import Share
from trainer.data.selection import SelectedRows

__all__ = ["READERS", "Buffers", "Stream"]

READERS = 2
"""Batches that are read at the same time, and that wait ready."""

ALIGN_BYTES = 64
"""What TensorFlow asks of an array that it takes without a copy."""


class Buffers:
    """Memory of batches of one shape, handed out as arrays and taken back when these are gone."""

    def __init__(
        self, shape: tuple[int, ...], on_release: Callable[[npt.NDArray[np.uint16]], None] | None = None
    ) -> None:
        """`on_release` is called with a buffer that has come back, before it can be handed out again."""
        self._shape, self._on_release = shape, on_release
        # Lists, whose append and pop need no lock: an array may end on any thread, in the midst of anything.
        self._free: list[npt.NDArray[np.uint16]] = []
        self._made: list[npt.NDArray[np.uint16]] = []

    @property
    def made(self) -> int:
        """Buffers that exist."""
        return len(self._made)

    def take(self) -> npt.NDArray[np.uint16]:
        """An array of the shape, uint16, with whatever stood in it."""
        try:
            memory = self._free.pop()
        except IndexError:
            memory = _aligned(self._shape)
            self._made.append(memory)
        # A view's base is the last array before memory that is no array, here the memoryview: so every view of what is
        # handed out, whoever makes it, holds `whole`, and the end of that is the end of all.
        whole = np.frombuffer(memoryview(memory).cast("B"), np.uint16)
        weakref.finalize(whole, self._give_back, memory).atexit = False
        return whole.reshape(self._shape)

    def _give_back(self, memory: npt.NDArray[np.uint16]) -> None:
        if self._on_release is not None:
            self._on_release(memory)
        self._free.append(memory)


def _aligned(shape: tuple[int, ...]) -> npt.NDArray[np.uint16]:
    size = int(np.prod(shape)) * 2
    raw = np.empty(size + ALIGN_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGN_BYTES
    return raw[start : start + size].view(np.uint16).reshape(shape)


class Stream:
    """Batches of one worker, in the order of the steps that are asked for.

    The store is read here, without HDF5 where it is contiguous and without the interpreter's lock.
    """

    def __init__(
        self, rows: SelectedRows, batch: int, share_of: Callable[[int], Share], buffers: Sequence[Buffers] | None = None
    ) -> None:
        """`share_of` says which rows a step takes, always `batch`; `buffers`: one a data set."""
        self._rows, self._batch, self._share_of = rows, batch, share_of
        self._buffers = buffers or [Buffers((batch, *item.row_shape)) for item in rows.pixels]

    def __call__(self, steps: range) -> Iterator[Any]:
        """Of each step (pixels as stored of every data set, uint16, (batch, row, col, band); labels, uint8, (batch,
        class); weights, float32, (batch,), see `Share`; places among the rows, int64, (batch,)).

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

    def _loader(self, failed: dict[int, Exception]) -> Callable[[tf.Tensor], Any]:
        """What TensorFlow calls for a step; `failed` takes what a read raises, of which it would keep only the text."""
        batch, pixels, classes = self._batch, self._rows.pixels, self._rows.labels.shape[1]
        types = [*[tf.uint16] * len(pixels), tf.uint8, tf.float32, tf.int64]
        shapes = [*[(batch, *item.row_shape) for item in pixels], (batch, classes), (batch,), (batch,)]
        # TensorFlow keeps for ever every function that a graph ever called: this one, so, must not hold the stream.
        stream = weakref.ref(self)

        def fetch(step: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], ...]:
            alive = stream()
            if alive is None:
                raise OSError("the stream is closed")
            try:
                return alive._fetch(int(step))
            except Exception as error:
                failed[int(step)] = error
                raise

        def load(step: tf.Tensor) -> tuple[Any, ...]:
            found = tf.numpy_function(fetch, [step], types)
            *shaped, labels, weights, places = map(tf.ensure_shape, found, shapes)
            return tuple(shaped), labels, weights, places

        return load

    def _fetch(self, step: int) -> tuple[npt.NDArray[Any], ...]:
        share, arrays = self._share_of(step), []
        for item, pool in zip(self._rows.pixels, self._buffers, strict=True):
            out = pool.take()
            self._rows.reader.read_rows(item.name, self._rows.numbers[share.rows], out)
            arrays.append(out)
        return (*arrays, self._rows.labels[share.rows], share.weights, share.rows)
