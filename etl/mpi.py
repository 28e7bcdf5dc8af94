"""The communicator, and errors shared by all ranks: the only module that imports mpi4py and names COMM_WORLD.

Settings are read on rank 0 alone. An expected error on some ranks is raised on all. An unexpected one ends the whole
job at once and is shown with its rank, because the others would wait forever in their next collective call. Waiting
is done by polling with short sleeps, so that a waiting rank leaves its core to its decoder.
"""

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast

os.environ.setdefault("OMPI_MCA_io", "romio321")  # Open MPI's own collective writes have deadlocked (fcoll/vulcan)
os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")  # a rank in a collective write leaves its core to decoders
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # many file systems have no locks; etl.store.lock takes its own

try:
    from mpi4py import MPI
except ModuleNotFoundError as error:
    error.add_note('The commands of etl need mpi4py: pip install "sentinel-etl[extract]"')
    raise

from etl.exit_status import CollectiveError, ExitStatus, JobError, exit_status_of, joint_message
from etl.files import raise_open_files_limit
from etl.heartbeat import doing
from etl.launcher import launcher_rank, unconnected_ranks
from etl.output import escape_output
from etl.time_limit import is_computing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "Comm",
    "Request",
    "RootOnly",
    "allreduce_max",
    "comm_self",
    "file_hints",
    "launch",
    "local_rank",
    "on_every_rank",
    "on_root",
    "raise_if_any_failed",
    "wait_polling",
]

Comm = MPI.Intracomm
Request = MPI.Request

S = TypeVar("S")
T = TypeVar("T")


class _WaitingComm(MPI.Intracomm):
    """A communicator whose ranks meet before an exchange: the first ones sleep, and note for a watchdog that they wait.

    MPI's own calls wait in a busy loop, here for as long as another rank opens its products or plans.
    """

    def bcast(self, *arguments: Any, **named: Any) -> Any:
        with doing("waiting for other ranks", waits=True):
            self._meet()
            return super().bcast(*arguments, **named)

    def scatter(self, *arguments: Any, **named: Any) -> Any:
        with doing("waiting for other ranks", waits=True):
            self._meet()
            return super().scatter(*arguments, **named)

    def gather(self, *arguments: Any, **named: Any) -> Any:
        with doing("waiting for other ranks", waits=True):
            self._meet()
            return super().gather(*arguments, **named)

    def allgather(self, *arguments: Any, **named: Any) -> Any:
        with doing("waiting for other ranks", waits=True):
            self._meet()
            return super().allgather(*arguments, **named)

    def _meet(self) -> None:
        """Wait for all ranks; a signal takes effect afterwards, as in a call of MPI.

        One that comes meanwhile mostly means that another rank ends the job, and speaks for all.
        """
        if self.size == 1:
            return
        request, interrupted = self.Ibarrier(), False
        while True:
            try:
                wait_polling(request)
                break
            except KeyboardInterrupt:
                interrupted = True
        if interrupted:
            raise KeyboardInterrupt


_FIRST_PAUSE_S = 0.00005

_LONGEST_PAUSE_S = 0.002

_FINALIZE_S = 60
"""Most seconds that a rank takes to end once all are about to: one that is stopped then would hold the others."""

_MPICH_OUTPUT_S = 0.5
"""Time for MPICH's mpirun to show what a process has printed; an abort ends it without that."""


def launch(parse: Callable[[], S], main: Callable[[S, Comm], int], advice: str = "") -> NoReturn:
    """Run a command on all ranks and end the process with its exit status.

    `parse` runs on rank 0, which shares what it returns; `main` runs on every rank and returns the exit status.
    `advice` says what completes a job that ended with status 75, as after Ctrl-C.
    """
    escape_output()
    comm = _WaitingComm(MPI.COMM_WORLD)
    logging.basicConfig(
        level=logging.INFO if comm.rank == 0 else logging.WARNING,
        format=(f"r{comm.rank:03d}/{comm.size} " if comm.rank else "") + "%(message)s",
        stream=sys.stderr,
    )
    _require_all_ranks(comm)
    try:
        settings, status = comm.bcast(_parsed(parse) if comm.rank == 0 else None)
        if settings is not None:
            status = main(settings, comm)
    except JobError as error:
        status = error.status
        if comm.rank == 0:
            logging.getLogger("etl").error("error: %s", _with_advice(str(error), error.status, advice))
    except BaseException as error:
        _abort(error, comm, advice)
    sys.stdout.flush()
    sys.stderr.flush()
    if comm.size > 1:
        wait_polling(comm.Ibarrier())
        signal.alarm(_FINALIZE_S)  # by which the system ends this process: MPI_Finalize keeps Python's global lock
    if status == ExitStatus.RESUMABLE and comm.size > 1 and _is_mpich():
        _abort_job(comm, status)  # MPICH's mpirun, once it has handed on a signal, ends with 0 in a third of the cases
    if is_computing():  # a thread that decodes in C++ would end the interpreter's shutdown with a crash
        MPI.Finalize()
        os._exit(status)
    sys.exit(status)


def _require_all_ranks(comm: Comm) -> None:
    """End the process with a message if the launcher started more ranks than MPI sees, or it may open too few files."""
    vendor, version = MPI.get_vendor()
    problem = raise_open_files_limit() or unconnected_ranks(
        comm.size, f"mpi4py ({vendor} {'.'.join(map(str, version))})"
    )
    if problem is None:
        return
    if launcher_rank()[0] == 0:  # each is rank 0 for MPI
        logging.getLogger("etl").error("error: %s", problem)
    sys.exit(ExitStatus.BAD_INPUT)


def _parsed(parse: Callable[[], S]) -> tuple[S | None, int]:
    """The settings and 0; None and the exit status if `parse` ended the program."""
    try:
        return parse(), ExitStatus.DONE
    except SystemExit as stop:  # argparse, after --help or bad arguments
        return None, stop.code if isinstance(stop.code, int) else ExitStatus.BAD_INPUT


def _with_advice(text: str, status: int, advice: str) -> str:
    return f"{text}; {advice}" if advice and status == ExitStatus.RESUMABLE else text


def _abort(error: BaseException, comm: Comm, advice: str) -> NoReturn:
    where = f"rank {comm.rank} of {comm.size}: " if comm.size > 1 else ""
    text, status = f"unexpected error: {error!r}\n{traceback.format_exc()}", ExitStatus.FAILED
    if isinstance(error, KeyboardInterrupt):
        text, status = "interrupted", ExitStatus.RESUMABLE
    elif isinstance(error, OSError):  # of a disk: no fault of the program
        text, status = str(error), exit_status_of(error)
    elif isinstance(error, CollectiveError):
        text = str(error)
    for kind in (signal.SIGINT, signal.SIGTERM):  # by which the abort of another rank ends this one
        signal.signal(kind, signal.SIG_DFL)
    time.sleep(min(0.05 * comm.rank, 2.0))  # if all ranks meet the same, the first one's abort ends the others
    print(f"error: {where}{_with_advice(text, status, advice)}", file=sys.stderr, flush=True)
    if comm.size > 1:
        _abort_job(comm, status)
    # not sys.exit: a thread that is decoding in C++ would end the interpreter's shutdown with an abort
    sys.stdout.flush()
    os._exit(status)


def _abort_job(comm: Comm, status: int) -> None:
    """End all processes of the job with `status`."""
    if _is_mpich():
        time.sleep(_MPICH_OUTPUT_S)
    comm.Abort(status)


def _is_mpich() -> bool:
    return MPI.get_vendor()[0] == "MPICH"


def raise_if_any_failed(comm: Comm, what: str, error: str | None, status: ExitStatus = ExitStatus.FAILED) -> None:
    """Collective: raise on every rank if any has an `error`, with the least `status` of those that have one.

    Raises:
        JobError: on every rank; the message names `what`, how many ranks failed, which, and the first error.
    """
    reports = comm.allgather((error, status))
    errors = {rank: text for rank, (text, _) in enumerate(reports) if text is not None}
    if errors:
        raise JobError(joint_message(what, errors, comm.size), min(reports[rank][1] for rank in errors))


def on_every_rank(comm: Comm, what: str, action: Callable[[], S]) -> S:
    """Collective: run `action` on every rank and return its result; its error on any rank is raised on all.

    Raises:
        JobError: on every rank, if `action` raised a ValueError or an OSError on any; the message says that `what`
            failed, on which ranks, and the first error.
    """
    results: list[S] = []
    problem, status = None, ExitStatus.FAILED
    try:
        results.append(action())
    except (ValueError, OSError) as error:
        problem, status = str(error), exit_status_of(error)
    raise_if_any_failed(comm, what, problem, status)
    return results[0]


def on_root(comm: Comm, action: Callable[[], S]) -> S | None:
    """Collective: run `action` on rank 0 and return its result there, None elsewhere.

    Raises:
        JobError: on every rank, if `action` raised one, a ValueError (bad input) or an OSError.
    """
    result, problem = None, None
    if comm.rank == 0:
        try:
            result = action()
        except (JobError, ValueError, OSError) as error:
            problem = (str(error), exit_status_of(error))
    problem = comm.bcast(problem)  # the others must know before their next collective call
    if problem is not None:
        raise JobError(*problem)
    return result


class RootOnly(Generic[T]):
    """A value that only rank 0 has. Every method is collective; the function given to it runs on rank 0 alone."""

    def __init__(self, comm: Comm, make: Callable[[], T]) -> None:
        """Collective: hold what `make` returns on rank 0.

        Raises:
            JobError: on every rank, as `on_root` does.
        """
        self._comm = comm
        self.value_on_root = on_root(comm, make)
        """The value on rank 0, None elsewhere."""

    def apply_on_root(self, action: Callable[[T], S]) -> "RootOnly[S]":
        """Collective: call `action` with the value on rank 0, and hold its result, again on rank 0 alone.

        Raises:
            JobError: on every rank, as `on_root` does.
        """
        return RootOnly(self._comm, lambda: action(cast("T", self.value_on_root)))

    def bcast(self, read: Callable[[T], S]) -> S:
        """Collective: call `read` with the value on rank 0, and return its result on every rank.

        Raises:
            JobError: on every rank, as `on_root` does.
        """
        result: S = self._comm.bcast(self.apply_on_root(read).value_on_root)
        return result

    def scatter(self, read: Callable[[T], Sequence[S]]) -> S:
        """Collective: call `read` with the value on rank 0; it returns one item per rank. Return this rank's item.

        Raises:
            JobError: on every rank, as `on_root` does.
        """
        part: S = self._comm.scatter(self.apply_on_root(read).value_on_root)
        return part


def comm_self() -> Comm:
    """Communicator of this process alone."""
    return MPI.COMM_SELF


def wait_polling(request: Request, meanwhile: Callable[[], None] | None = None) -> None:
    """Wait until `request` is complete, calling `meanwhile` between sleeps that grow from 0.05 to 2 milliseconds.

    MPI's own wait keeps a core busy, which the decoding threads need.
    """
    pause_s = _FIRST_PAUSE_S
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


def allreduce_max(
    comm: Comm, values: "npt.NDArray[np.int32]", meanwhile: Callable[[], None] | None = None
) -> "npt.NDArray[np.int32]":
    """Collective: elementwise maximum over ranks of `values`, int32 of any shape; waits by polling."""
    out = values.copy()
    with doing("waiting for other ranks", waits=True):
        wait_polling(comm.Iallreduce(values, out, op=MPI.MAX), meanwhile)
    return out


def file_hints() -> MPI.Info:
    """Hints for a file that every rank writes in large separate pieces: no exchange of data, no read-modify-write.

    Two-phase exchange never paid on one node; `ROMIO_HINTS`, the file that ROMIO reads, overrides these.
    """
    info = MPI.Info.Create()
    info.Set("romio_cb_write", "disable")
    info.Set("romio_ds_write", "disable")
    return info
