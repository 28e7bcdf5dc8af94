"""All workers of a run and what they exchange: the only module that imports Horovod.

A single worker needs neither Horovod nor mpirun: Horovod is imported only if the launcher started several.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from etl.exit_status import ExitStatus, JobError, joint_message
from etl.launcher import launcher_rank, unconnected_ranks
from trainer.workers.interruption import StopSignals

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["Workers", "connect", "message_ends"]

T = TypeVar("T")

_MESSAGE_BYTES = 16 << 20
"""Bytes from which a message is sent: the gradients of a ResNet-50 make five such messages and a smaller one."""


def message_ends(sizes: Sequence[int]) -> list[int]:
    """Index after the last tensor of each message, if tensors of `sizes` bytes are sent in their order.

    Each message but the last has at least `_MESSAGE_BYTES`.
    """
    ends, filled_bytes = [], 0
    for end, size in enumerate(sizes, 1):
        filled_bytes += size
        if filled_bytes >= _MESSAGE_BYTES or end == len(sizes):
            ends.append(end)
            filled_bytes = 0
    return ends


class Workers:
    """All workers of a run, as seen by one of them. Each method is collective: all call it, in the same order."""

    def __init__(self, horovod: ModuleType | None, signals: StopSignals | None = None) -> None:
        """`horovod` is the initialised module, or None for a single worker; `signals` stop it, None for none."""
        self._horovod = horovod
        self.signals = signals or StopSignals()
        self.rank, self.size, self.local_rank, self.local_size = 0, 1, 0, 1
        if horovod:
            self.rank, self.size = horovod.rank(), horovod.size()
            self.local_rank, self.local_size = horovod.local_rank(), horovod.local_size()
        self.progress_count = 0
        """Completed steps, scored batches and exchanges of this worker; the watchdog reads it."""

    def allgather(self, value: T) -> list[T]:
        """Collective: the `value` of each worker, in order of rank, on every worker; any object that can be pickled."""
        if self._horovod is None:
            return [value]
        values: list[T] = self._horovod.allgather_object(value)
        self.progress_count += 1
        return values

    def on_every_worker(self, what: str, action: Callable[[], T]) -> T:
        """Collective: run `action` on every worker and return its result on this one.

        Raises:
            JobError: on all workers, if `action` raises ValueError or OSError on any of them. The message names
                `what`, the workers that failed, and the error of the first one.
        """
        result, error = [], None
        try:
            result.append(action())
        except (ValueError, OSError) as caught:
            error = str(caught)
        errors = {rank: text for rank, text in enumerate(self.allgather(error)) if text is not None}
        if not errors:
            return result[0]
        message = errors[0] if len(errors) == self.size else joint_message(what, errors, self.size, "worker")
        raise JobError(message, ExitStatus.BAD_INPUT)

    def on_worker_0(self, what: str, action: Callable[[], T]) -> T | None:
        """Collective: run `action` on worker 0 alone and return its result there; None on the others.

        Raises:
            JobError: as `on_every_worker` does.
        """
        return self.on_every_worker(what, lambda: None if self.rank else action())

    def any_stop(self) -> bool:
        """Collective: whether a signal has asked any of the workers to stop."""
        return any(self.allgather(self.signals.requested))

    def average(self, tensors: "Sequence[tf.Tensor]", compress: bool = False) -> "list[tf.Tensor]":
        """Collective: each tensor's mean over workers, by one grouped all-reduce; may be part of a TensorFlow graph.

        Shapes and dtypes are unchanged; `compress` sends the tensors as float16.
        """
        if self._horovod is None:
            return list(tensors)
        compression = self._horovod.Compression.fp16 if compress else self._horovod.Compression.none
        return list(self._horovod.grouped_allreduce(list(tensors), op=self._horovod.Average, compression=compression))

    def average_as_ready(self, tensors: "Sequence[tf.Tensor]", compress: bool = False) -> "list[tf.Tensor]":
        """Collective: as `average`, in several all-reduces, each of which starts as soon as its tensors are computed.

        The last tensors go first: gradients of a network's last layers are ready while those of the first layers are
        still being computed. Which tensors are sent together depends only on their sizes in bytes.
        """
        last_first = list(tensors)[::-1]
        ends = message_ends([tensor.shape.num_elements() * tensor.dtype.size for tensor in last_first])
        messages = [last_first[start:end] for start, end in pairwise([0, *ends])]
        return [mean for message in messages for mean in self.average(message, compress)][::-1]

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        """Collective: set these variables, of any shape and dtype, to the values of worker 0 on every worker."""
        if self._horovod is not None:
            self._horovod.broadcast_variables(list(variables), root_rank=0)


def connect(signals: StopSignals | None = None) -> Workers:
    """Collective: all workers that the launcher started; starts Horovod if there are several.

    `signals` stop this worker; None for none.

    Raises:
        JobError: Horovod is needed and not installed, or it sees fewer workers than the launcher started.
    """
    _, size = launcher_rank()
    if size == 1:
        return Workers(None, signals)
    try:
        import horovod.tensorflow as horovod
    except ImportError as error:
        raise JobError(
            f"{size} workers need Horovod: {error}; install it (bash deploy/install.sh), or run without mpirun",
            ExitStatus.BAD_INPUT,
        ) from None
    horovod.init()
    problem = unconnected_ranks(horovod.size(), "Horovod")
    if problem is not None:
        raise JobError(problem, ExitStatus.BAD_INPUT)
    return Workers(horovod, signals)
