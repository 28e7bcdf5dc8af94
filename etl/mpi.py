"""The communicator and what the ranks agree on: the only module that imports mpi4py and names COMM_WORLD.

Settings are read on rank 0 alone; what only some ranks meet becomes one error on all; an error that nobody expected
ends the whole job at once, shown with the rank that met it, because the others would wait for ever in their next
collective call. Waiting is done by polling with short sleeps, so that a waiting rank leaves its core to its decoder.
"""

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

os.environ.setdefault("OMPI_MCA_io", "romio321")  # Open MPI's own collective writes have deadlocked (fcoll/vulcan)
os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")  # a rank in a collective write leaves its core to decoders
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "BEST_EFFORT")  # many parallel file systems have no locks

try:
    from mpi4py import MPI
except ModuleNotFoundError as error:
    error.add_note('The commands of etl need mpi4py: pip install "sentinel-etl[extract]"')
    raise

from etl.exit_status import ExitStatus, JobError, exit_status_of, joint_message

__all__ = [
    "Comm",
    "Request",
    "agree",
    "alone",
    "file_hints",
    "launch",
    "local_rank",
    "max_of",
    "on_root",
    "patient",
]

Comm = MPI.Intracomm
Request = MPI.Request

S = TypeVar("S")

_LONGEST_PAUSE_S = 0.002


def launch(parse: Callable[[], S], main: Callable[[S, Comm], int]) -> NoReturn:
    """Run a command on all ranks and end the process with its exit status.

    `parse` runs on rank 0, which shares what it returns; `main` runs on every rank and returns the exit status.
    """
    comm = MPI.COMM_WORLD
    logging.basicConfig(
        level=logging.INFO if comm.rank == 0 else logging.WARNING,
        format=(f"r{comm.rank:03d}/{comm.size} " if comm.rank else "") + "%(message)s",
        stream=sys.stderr,
    )
    try:
        settings, status = _shared(parse, comm)
        if settings is not None:
            status = main(settings, comm)
    except JobError as error:
        status = error.status
        if comm.rank == 0:
            logging.getLogger("etl").error("error: %s", error)
    except BaseException as error:
        _abort(error, comm)
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(status)


def _shared(parse: Callable[[], S], comm: Comm) -> tuple[S | None, int]:
    """Rank 0's settings on every rank, or None and the exit status where it could not make any."""
    found: tuple[S | None, int] = (None, ExitStatus.BAD_INPUT)
    if comm.rank == 0:
        try:
            found = (parse(), ExitStatus.DONE)
        except SystemExit as stop:
            found = (None, stop.code if isinstance(stop.code, int) else ExitStatus.BAD_INPUT)
    shared: tuple[S | None, int] = comm.bcast(found)
    return shared


def _abort(error: BaseException, comm: Comm) -> NoReturn:
    where = f"rank {comm.rank} of {comm.size}: " if comm.size > 1 else ""
    if isinstance(error, KeyboardInterrupt):
        text = "interrupted; the store, if one was begun, can be resumed with --resume"
    else:
        text = f"unexpected error: {error!r}\n{traceback.format_exc()}"
    time.sleep(min(0.05 * comm.rank, 2.0))  # where all ranks meet the same, the first one's abort ends the others
    print(f"error: {where}{text}", file=sys.stderr, flush=True)
    status = ExitStatus.RESUMABLE if isinstance(error, KeyboardInterrupt) else ExitStatus.FAILED
    if comm.size > 1:
        comm.Abort(status)
    sys.exit(status)


def agree(comm: Comm, what: str, error: str | None, status: ExitStatus = ExitStatus.FAILED) -> None:
    """Collective: go on only if no rank has an `error`; the least `status` of those that have ends the job.

    Raises:
        JobError: on every rank alike; the message names `what`, how many ranks failed, which, and the first error.
    """
    reports = comm.allgather((error, status))
    errors = {rank: text for rank, (text, _) in enumerate(reports) if text is not None}
    if errors:
        raise JobError(joint_message(what, errors, comm.size), min(reports[rank][1] for rank in errors))


def on_root(comm: Comm, action: Callable[[], S]) -> S | None:
    """Collective: what `action` returns, on rank 0; None elsewhere.

    Raises:
        JobError: on every rank, where `action` raised one, a ValueError (bad input) or an OSError on rank 0.
    """
    result, problem = None, None
    if comm.rank == 0:
        try:
            result = action()
        except JobError as error:
            problem = (str(error), error.status)
        except (ValueError, OSError) as error:
            problem = (str(error), exit_status_of(error))
    problem = comm.bcast(problem)
    if problem is not None:
        raise JobError(*problem)
    return result


def alone() -> Comm:
    """This process by itself."""
    return MPI.COMM_SELF


def patient(request: Request, meanwhile: Callable[[], None] | None = None) -> None:
    """Wait for `request` with short sleeps, calling `meanwhile` between them."""
    pause_s = 0.00005
    while not request.Test():
        if meanwhile is not None:
            meanwhile()
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)


def local_rank(comm: Comm) -> int:
    """Collective: number of this rank among those on its node, from 0."""
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    number = node.rank
    node.Free()
    return int(number)


def max_of(comm: Comm, values: Any, meanwhile: Callable[[], None] | None = None) -> Any:
    """Collective: elementwise maximum over ranks of an integer array; waits patiently."""
    out = values.copy()
    patient(comm.Iallreduce(values, out, op=MPI.MAX), meanwhile)
    return out


def file_hints() -> MPI.Info:
    """Hints for a file that every rank writes in large separate pieces: no exchange of data, no read-modify-write.

    Two-phase exchange never paid on one node; `ROMIO_HINTS`, the file that ROMIO reads, overrides these.
    """
    info = MPI.Info.Create()
    info.Set("romio_cb_write", "disable")
    info.Set("romio_ds_write", "disable")
    return info
