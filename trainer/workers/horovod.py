"""All workers of a run and what they exchange: the only module that imports Horovod.

A worker alone needs neither Horovod nor mpirun: Horovod is imported only where the launcher started several.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from etl.exit_status import ExitStatus, JobError, joint_message
from trainer.workers.launcher import launcher_rank

if TYPE_CHECKING:
    import tensorflow as tf

__all__ = ["Workers", "connect", "message_ends"]

T = TypeVar("T")

_MESSAGE_BYTES = 16 << 20
"""A message is sent as soon as it has so many bytes: the gradients of a ResNet-50 are five messages and a rest."""


def message_ends(sizes: Sequence[int]) -> list[int]:
    """Index after the last tensor of each message, for tensors of `sizes` bytes in their order.

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
    """All workers of a run, seen from one of them. Each method is collective: all call it, in the same order."""

    def __init__(self, horovod: ModuleType | None) -> None:
        """`horovod` is the initialised module, or None for a worker alone."""
        self._horovod = horovod
        self.rank: int = horovod.rank() if horovod else 0
        self.size: int = horovod.size() if horovod else 1
        self.local_rank: int = horovod.local_rank() if horovod else 0
        self.local_size: int = horovod.local_size() if horovod else 1
        self.advances = 0
        """Steps, scored batches and exchanges that this worker has completed; the watchdog looks at it."""

    def gather(self, value: T) -> list[T]:
        """Collective: every worker's `value`, by rank."""
        if self._horovod is None:
            return [value]
        values: list[T] = self._horovod.allgather_object(value)
        self.advances += 1
        return values

    def agree(self, what: str, action: Callable[[], T]) -> T:
        """Collective: what `action` returns, if it raises no ValueError and no OSError on any worker.

        Raises:
            JobError: on every worker alike; names `what`, the workers that failed, and the first one's error.
        """
        result, error = [], None
        try:
            result.append(action())
        except (ValueError, OSError) as caught:
            error = str(caught)
        errors = {rank: text for rank, text in enumerate(self.gather(error)) if text is not None}
        if not errors:
            return result[0]
        everywhere = len(errors) == self.size
        message = errors[0] if everywhere else joint_message(what, errors, self.size, "worker")
        raise JobError(message, ExitStatus.BAD_INPUT)

    def on_first(self, what: str, action: Callable[[], T]) -> T | None:
        """Collective: what `action` returns, on worker 0; None elsewhere.

        Raises:
            JobError: as `agree` does.
        """
        return self.agree(what, lambda: None if self.rank else action())

    def average(self, tensors: "Sequence[tf.Tensor]", compress: bool = False) -> "list[tf.Tensor]":
        """Collective: each tensor's mean over workers, in one grouped all-reduce; also within a graph.

        Shapes and dtypes stay; `compress` sends the tensors as float16.
        """
        if self._horovod is None:
            return list(tensors)
        compression = self._horovod.Compression.fp16 if compress else self._horovod.Compression.none
        return list(self._horovod.grouped_allreduce(list(tensors), op=self._horovod.Average, compression=compression))

    def average_as_ready(self, tensors: "Sequence[tf.Tensor]", compress: bool = False) -> "list[tf.Tensor]":
        """Collective: as `average`, in several all-reduces, each begun as soon as its tensors are computed.

        The last tensors go first: gradients of a network's last layers are ready while those of the first layers are
        still computed. Which tensors go together depends on their sizes in bytes alone.
        """
        if self._horovod is None:
            return list(tensors)
        last_first = list(tensors)[::-1]
        ends = message_ends([tensor.shape.num_elements() * tensor.dtype.size for tensor in last_first])
        messages = [last_first[start:end] for start, end in pairwise([0, *ends])]
        return [mean for message in messages for mean in self.average(message, compress)][::-1]

    def broadcast(self, variables: "Sequence[tf.Variable]") -> None:
        """Collective: give every worker the values that worker 0 has in these variables; shapes and dtypes stay."""
        if self._horovod is not None:
            self._horovod.broadcast_variables(list(variables), root_rank=0)


def connect() -> Workers:
    """Collective: the workers that were launched together.

    Raises:
        JobError: several were launched and Horovod is not installed, or counts another number of them.
    """
    _, size = launcher_rank()
    if size == 1:
        return Workers(None)
    try:
        import horovod.tensorflow as horovod
    except ImportError as error:
        raise JobError(
            f"{size} workers need Horovod: {error}; install it (bash deploy/install.sh), or run without mpirun",
            ExitStatus.BAD_INPUT,
        ) from None
    horovod.init()
    if horovod.size() != size:
        raise JobError(
            f"the launcher started {size} workers, Horovod sees {horovod.size()}: it was built for another MPI "
            "than this launcher's; build it anew (bash deploy/install.sh)",
            ExitStatus.BAD_INPUT,
        )
    return Workers(horovod)
