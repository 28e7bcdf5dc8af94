"""The workers of a run and what they tell each other: the only module that imports Horovod.

A worker alone needs neither Horovod nor mpirun. How many workers were started, and which one this is, is read from the
environment that the launcher sets; Horovod is imported only where there are several.
"""

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NoReturn, TypeVar

# Unless the user says otherwise; read when MPI starts, which importing h5py does, so import this module before it.
# A worker that waits for another leaves its core to it, and Horovod looks for work every 5 ms instead of every 1 ms:
# a step of two workers on two shared cores took 0.6 CPU seconds each instead of 1.1.
os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
os.environ.setdefault("HOROVOD_CYCLE_TIME", "5")
# Else which groups of tensors share a message, and so the order of its sums, would depend on the moment.
os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")

__all__ = [
    "BAD_INPUT",
    "DONE",
    "FAILED",
    "RESUMABLE",
    "WorkerError",
    "Workers",
    "abandon",
    "connect",
    "launched",
    "message_ends",
    "watch",
]

DONE, FAILED, BAD_INPUT, RESUMABLE = 0, 1, 2, 75
"""Exit status of every command."""

T = TypeVar("T")

_MESSAGE_BYTES = 16 << 20
"""As soon as a message has so many bytes it is sent: five and a rest for the gradients of a ResNet-50."""

_LAUNCHERS = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),  # horovodrun with Gloo
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),  # Open MPI's mpirun
    ("PMI_RANK", "PMI_SIZE"),  # MPICH, Intel MPI
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),  # srun; not set by sbatch for the batch script itself
)


class WorkerError(Exception):
    """An error that every worker raises together: worker 0 shows it, and all end with `status`."""

    def __init__(self, message: str, status: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.status = status


def launched() -> tuple[int, int]:
    """(rank, number of workers) by the environment; (0, 1) where nothing launched this process."""
    for rank, size in _LAUNCHERS:
        if rank in os.environ and size in os.environ:
            return int(os.environ[rank]), int(os.environ[size])
    return 0, 1


def message_ends(sizes: Sequence[int]) -> list[int]:
    """Where messages end, which take tensors of these bytes in their order: after at least `_MESSAGE_BYTES` each."""
    ends, held = [], 0
    for end, size in enumerate(sizes, 1):
        held += size
        if held >= _MESSAGE_BYTES or end == len(sizes):
            ends.append(end)
            held = 0
    return ends


class Workers:
    """All workers of a run, seen from one of them. Each method is collective: all call it, in the same order."""

    def __init__(self, horovod: Any | None) -> None:
        """`horovod` is the initialised module, or None for a worker alone."""
        self._horovod = horovod
        self.rank: int = horovod.rank() if horovod else 0
        self.size: int = horovod.size() if horovod else 1
        self.local_rank: int = horovod.local_rank() if horovod else 0
        self.local_size: int = horovod.local_size() if horovod else 1
        self.advances = 0
        """What this worker has got done: steps, batches scored, answers of all; see `watch`."""

    def gather(self, value: T) -> list[T]:
        """Collective: every worker's `value`, by rank."""
        if self._horovod is None:
            return [value]
        found: list[T] = self._horovod.allgather_object(value)
        self.advances += 1
        return found

    def agree(self, what: str, action: Callable[[], T]) -> T:
        """Collective: what `action` returns, if it raises no ValueError and no OSError on any worker.

        Raises:
            WorkerError: on every worker alike; names `what`, the workers that failed, and the first one's error.
        """
        result, error = [], None
        try:
            result.append(action())
        except (ValueError, OSError) as caught:
            error = str(caught)
        errors = {rank: text for rank, text in enumerate(self.gather(error)) if text is not None}
        if not errors:
            return result[0]
        first, text = next(iter(errors.items()))
        if len(errors) == self.size:
            raise WorkerError(text)
        listed = ", ".join(map(str, errors))
        raise WorkerError(f"{what} failed on {len(errors)} of {self.size} workers [{listed}]; worker {first}: {text}")

    def average(self, tensors: Sequence[Any], compress: bool = False) -> list[Any]:
        """Collective: each tensor's mean over workers, in one grouped all-reduce; also within a graph.

        `compress` sends them as fp16.
        """
        if self._horovod is None:
            return list(tensors)
        form = self._horovod.Compression.fp16 if compress else self._horovod.Compression.none
        return list(self._horovod.grouped_allreduce(list(tensors), op=self._horovod.Average, compression=form))

    def average_as_ready(self, tensors: Sequence[Any], compress: bool = False) -> list[Any]:
        """Collective: as `average`, in several all-reduces, each begun as soon as its tensors are there.

        The last tensors go first: gradients of a network's last layers are ready while those of the first ones are
        still computed. Which tensors go together depends on their shapes alone.
        """
        if self._horovod is None:
            return list(tensors)
        last_first = list(tensors)[::-1]
        ends = message_ends([tensor.shape.num_elements() * tensor.dtype.size for tensor in last_first])
        parts = [last_first[start:end] for start, end in pairwise([0, *ends])]
        return [mean for part in parts for mean in self.average(part, compress)][::-1]

    def broadcast(self, variables: Sequence[Any]) -> None:
        """Collective: give every worker the values that worker 0 has in these TensorFlow variables."""
        if self._horovod is not None:
            self._horovod.broadcast_variables(list(variables), root_rank=0)


def connect() -> Workers:
    """Collective: the workers that were launched together.

    Raises:
        WorkerError: several were launched and Horovod is not installed, or knows another number of them.
    """
    _, size = launched()
    if size == 1:
        return Workers(None)
    try:
        import horovod.tensorflow as horovod
    except ImportError as error:
        raise WorkerError(
            f"{size} workers need Horovod: {error}; install it (bash deploy/install.sh), or run without mpirun"
        ) from None
    horovod.init()
    if horovod.size() != size:
        raise WorkerError(
            f"the launcher started {size} workers, Horovod sees {horovod.size()}: it was built for another MPI "
            "than this launcher's; build it anew (bash deploy/install.sh)"
        )
    return Workers(horovod)


def watch(workers: Workers, limit_s: int) -> None:
    """End this worker with status 75 once `workers.advances` has stood still for `limit_s` seconds; 0 for never.

    A worker that is stopped or hangs makes no error in the others: they wait for it, and Horovod's own check waits with
    them. Only seconds in which this process ran are counted, so a job that is suspended as a whole goes on afterwards.
    """

    def look() -> None:
        seen, still_s = -1, 0
        while still_s < limit_s + 2 * (workers.rank > 0):  # worker 0 speaks for all, unless it is the one
            seen, still_s = workers.advances, still_s + 1 if workers.advances == seen else 0
            time.sleep(1)
        print(
            f"error: worker {workers.rank} of {workers.size} has waited {limit_s} s for another, which hangs or is "
            "stopped; all workers end. --resume goes on from the last checkpoint",
            file=sys.stderr,
            flush=True,
        )
        os._exit(RESUMABLE)

    if limit_s and workers.size > 1:
        threading.Thread(target=look, name="watch", daemon=True).start()


def abandon(workers: Workers, error: BaseException) -> NoReturn:
    """End this worker at once, because of `error`: the others would wait for it for ever.

    The launcher ends them when it sees a worker leave this way. Where a worker is lost, the others see it as an error
    of Horovod's, and end with status 75: the run can be resumed.
    """
    where = f"worker {workers.rank} of {workers.size}: " if workers.size > 1 else ""
    lost = workers.size > 1 and "Horovod" in f"{type(error).__name__} {error}"
    if lost:
        text = f"another worker is lost ({str(error).strip().splitlines()[-1]}); --resume goes on from the checkpoint"
    else:
        text = "".join(traceback.format_exception(error))
    print(f"error: {where}{text}", file=sys.stderr, flush=True)
    os._exit(RESUMABLE if lost else FAILED)
