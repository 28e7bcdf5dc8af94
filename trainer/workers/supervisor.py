"""A process that starts each worker and outlives it, so that the job ends as resumable when a worker is killed.

A launcher knows only the signal that ended a process, and exits with it (mpirun: 137). So the process it starts is a
supervisor: it forks the worker, waits for it, prints how it ended, and exits with a status that scripts can act on.
"""

import ctypes
import os
import signal
import sys

from etl.exit_status import ExitStatus
from etl.launcher import launcher_rank
from trainer.workers.interruption import HANDLED_SIGNALS, end_on_signals

# MPI reads these when it starts, which importing h5py or Horovod does.
# Unless the user has set them: a waiting worker yields its core, and Horovod looks for work every 5 ms instead of every
# 1 ms. A step of two workers on two shared cores then took 0.6 CPU seconds each instead of 1.1.
os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
os.environ.setdefault("HOROVOD_CYCLE_TIME", "5")
# Otherwise timing would decide which groups of tensors are sent together, and so the order of their sums.
os.environ.setdefault("HOROVOD_DISABLE_GROUP_FUSION", "1")

__all__ = ["RERUN_ADVICE", "RESUME_ADVICE", "supervise"]

RESUME_ADVICE = "--resume continues from the last checkpoint"
"""End of a message about an interrupted training."""

RERUN_ADVICE = "run it again"
"""End of a message about an interrupted command that cannot be resumed."""

_MPIRUN_ENDS_THE_JOB = (
    "error: SIGTERM has come. If mpirun has sent it, mpirun is going to kill all workers, by default in 1 s, and its "
    f"status after SIGTERM or Ctrl-C is 1, not 75; {RESUME_ADVICE}. Send SIGUSR1 to mpirun to save a checkpoint first"
)

_CRASH_SIGNALS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
"""Signals of a faulty program, which would end a resumed run again."""

_PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""


def supervise() -> None:
    """Fork: return in the child, which is the worker, while the parent waits for it and exits.

    A single worker is not forked. Call this before anything starts threads or MPI, which importing h5py does. Stop
    signals end the worker with status 75, until `interruption.StopSignals` takes over.
    """
    rank, size = launcher_rank()
    if size == 1:
        end_on_signals(RESUME_ADVICE)
        return
    signal.signal(signal.SIGCHLD, lambda *_: None)  # some launchers start it with SIGCHLD ignored, so never delivered
    # Signals are taken from a queue: the handler of one that comes just before waitpid would run only after it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*HANDLED_SIGNALS, signal.SIGCHLD))
    parent, worker = os.getpid(), os.fork()
    if worker == 0:
        _end_with_parent(parent)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        end_on_signals(RESUME_ADVICE)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    wait_status = _forward_until_end(worker)
    os._exit(_exit_status(os.waitstatus_to_exitcode(wait_status), f"worker {rank} of {size}"))


def _forward_until_end(worker: int) -> int:
    """Pass signals on to the worker until it has ended; returns its wait status."""
    while True:
        kind = signal.sigwait((*HANDLED_SIGNALS, signal.SIGCHLD))
        if kind in HANDLED_SIGNALS:
            os.kill(worker, kind)  # it exists, as a zombie at least, until it has been waited for
            if kind == signal.SIGTERM and os.environ.get("OMPI_COMM_WORLD_RANK") == "0":
                print(_MPIRUN_ENDS_THE_JOB, file=sys.stderr, flush=True)
            continue
        pid, wait_status = os.waitpid(worker, os.WNOHANG)
        if pid == worker:
            return wait_status


def _end_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent ended before prctl was called
        os._exit(ExitStatus.RESUMABLE)


def _exit_status(code: int, worker: str) -> int:
    """Exit status of the supervisor for a worker's exit code; a signal, which is below 0, is printed."""
    if code >= 0:
        return code
    kind = signal.Signals(-code)
    resumable = kind not in _CRASH_SIGNALS
    advice = "out of memory? " if kind is signal.SIGKILL else ""
    advice += RESUME_ADVICE if resumable else "The program crashed; please report this message"
    print(f"error: {worker} is lost, ended by {kind.name}; all workers end. {advice}", file=sys.stderr, flush=True)
    return ExitStatus.RESUMABLE if resumable else ExitStatus.FAILED
