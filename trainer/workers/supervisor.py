"""A process beside each worker that outlives it, so that a worker that is killed ends the job as one that may resume.

A launcher knows of a lost process only its signal, and ends with that (mpirun: 137). What it starts is therefore a
guard, which waits for the worker that it forked, says how that ended, and ends with a status that scripts can act on.
"""

import contextlib
import ctypes
import os
import signal
import sys
from types import FrameType

from trainer.workers.horovod import FAILED, RESUMABLE, launched

__all__ = ["guard"]

_OWN_FAULT = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
"""Ends of a program that is broken: resuming would meet them again."""

_HANDED_ON = (signal.SIGTERM, signal.SIGINT)
"""What the worker is told when its guard is."""

_PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""


def guard() -> None:
    """Return in the worker; where several were launched that is a forked process, whose parent waits and never returns.

    To be called before anything starts threads or MPI, which importing h5py does.
    """
    rank, size = launched()
    if size == 1:
        return
    # A signal that comes while there is a worker and no handler yet has to wait: it would end the guard alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    parent, worker = os.getpid(), os.fork()
    if worker == 0:
        _follow(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return

    def forward(kind: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(worker, kind)

    for kind in _HANDED_ON:
        signal.signal(kind, forward)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    _, ended = os.waitpid(worker, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)  # nobody is left to hand it on to
    os._exit(_status(os.waitstatus_to_exitcode(ended), f"worker {rank} of {size}"))


def _follow(parent: int) -> None:
    """Have this process end with its parent, where the system can do that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(RESUMABLE)


def _status(code: int, who: str) -> int:
    """The status to end with, for a worker's exit status, or its signal below 0; says so if that was a signal."""
    if code >= 0:
        return code
    kind = signal.Signals(-code)
    resumable = kind not in _OWN_FAULT
    advice = "out of memory? " if kind is signal.SIGKILL else ""
    advice += "--resume goes on from the last checkpoint" if resumable else "this is a fault of the program"
    sys.stderr.write(f"error: {who} is lost, ended by {kind.name}; all workers end. {advice}\n")
    sys.stderr.flush()
    return RESUMABLE if resumable else FAILED
