"""A process beside each worker that outlives it, so that the job ends as resumable when a worker is killed.

A launcher knows only the signal that ended a process, and ends with that (mpirun: 137). So the process it starts
is a supervisor: it forks the worker, waits for it, says how it ended, and exits with a status that scripts can act on.
"""

import contextlib
import ctypes
import os
import signal
import sys
from types import FrameType

from etl.exit_status import ExitStatus
from trainer.workers.launcher import launcher_rank

__all__ = ["supervise"]

_CRASH_SIGNALS = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
"""Signals of a program that is broken: a resumed run would meet them again."""

_FORWARDED_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""Signals that the supervisor passes on to its worker."""

_PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""


def supervise() -> None:
    """Fork and return in the child, the worker, while the parent waits for it and exits; alone, just return.

    Call it before anything starts threads or MPI, which importing h5py does.
    """
    rank, size = launcher_rank()
    if size == 1:
        return
    # A signal that comes between the fork and the handlers must wait: it would end the supervisor alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED_SIGNALS)
    parent, worker = os.getpid(), os.fork()
    if worker == 0:
        _end_with_parent(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return

    def forward(kind: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(worker, kind)

    for kind in _FORWARDED_SIGNALS:
        signal.signal(kind, forward)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _, wait_status = os.waitpid(worker, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED_SIGNALS)  # no worker is left to forward them to
    os._exit(_exit_status(os.waitstatus_to_exitcode(wait_status), f"worker {rank} of {size}"))


def _end_with_parent(parent: int) -> None:
    """Have the kernel end this process when its parent ends; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before prctl was called
        os._exit(ExitStatus.RESUMABLE)


def _exit_status(code: int, worker: str) -> int:
    """The status to exit with, for a worker's exit code or, below 0, its signal, which is printed."""
    if code >= 0:
        return code
    kind = signal.Signals(-code)
    resumable = kind not in _CRASH_SIGNALS
    advice = "out of memory? " if kind is signal.SIGKILL else ""
    advice += "--resume goes on from the last checkpoint" if resumable else "this is a fault of the program"
    sys.stderr.write(f"error: {worker} is lost, ended by {kind.name}; all workers end. {advice}\n")
    sys.stderr.flush()
    return ExitStatus.RESUMABLE if resumable else ExitStatus.FAILED
