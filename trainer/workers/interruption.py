"""Stop on a signal: at once, or, during a training, as soon as a checkpoint is saved.

Python runs the handler of a signal only between two of its own instructions, so not while a training step computes or
waits for another worker. So a thread hears the signals too, and ends the process if it does not end in time.
"""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from etl.exit_status import ExitStatus
from etl.launcher import launcher_rank

__all__ = ["HANDLED_SIGNALS", "StopRequested", "StopSignals", "end_on_signals", "keep_status_on_signals"]

HANDLED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that stop a command. mpirun forwards SIGUSR1 to all workers."""

_LIMIT_S = 25.0
"""Longest time from the signal to the end of the process. Slurm kills a job 30 s after SIGTERM."""

_SAME_S = 1.0
"""Time in which further signals are the same one: mpirun sends it to the worker and to the supervisor, which forwards
it."""


class StopRequested(Exception):
    """A signal has asked a worker to stop; raised on all workers together."""


class StopSignals:
    """Signals that ask this process to stop, while used as a context manager; call it from the main thread."""

    def __init__(self, advice: str = "") -> None:
        """`advice`: end of each message, which says how to continue."""
        self.requested = False
        """Whether a signal has come."""

        self.deferring = False
        """Whether the training stops by itself once a signal has come; otherwise the signal ends the command."""

        self._advice, self._interrupted = advice, False

    def __enter__(self) -> "StopSignals":
        self._heard, written = socket.socketpair()
        written.setblocking(False)
        self._written, self._fd_before = written, signal.set_wakeup_fd(written.fileno(), warn_on_full_buffer=False)
        self._before = {kind: signal.signal(kind, self._on_signal) for kind in HANDLED_SIGNALS}
        self._thread = threading.Thread(target=self._listen, name="stop-signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for kind, handler in self._before.items():
            signal.signal(kind, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._written.close()  # ends the thread
        self._thread.join()
        self._heard.close()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """In this block a signal only sets `requested`; the block must look at it."""
        self.deferring = True
        try:
            yield
        finally:
            self.deferring = False

    def _on_signal(self, kind: int, frame: FrameType | None) -> None:
        """Called by Python in the main thread, as soon as that runs Python's instructions."""
        self.requested = True
        if not self.deferring and not self._interrupted:
            self._interrupted = True
            raise KeyboardInterrupt

    def _listen(self) -> None:
        """Note the first signal; end the process on a second one, or if it still runs when the time is over."""
        first_s = None
        while True:
            self._heard.settimeout(None if first_s is None else max(1e-3, first_s + _LIMIT_S - time.monotonic()))
            try:
                numbers = self._heard.recv(64)  # one byte per signal that Python handles
            except TimeoutError:
                _end_now(f"stopped by a signal before its work was saved, after {_LIMIT_S:.0f} s; {self._advice}")
            if not numbers:
                return
            if not any(number in HANDLED_SIGNALS for number in numbers):
                continue
            if first_s is None:
                first_s, self.requested = time.monotonic(), True
            elif time.monotonic() - first_s > _SAME_S:
                _end_now(f"stopped at once by a second signal; {self._advice}")


@dataclass(frozen=True, slots=True)
class _EndAtOnce:
    """Signal handler that ends the process with `status`."""

    status: int
    advice: str | None
    """End of the message; None to print none."""

    def __call__(self, kind: int, frame: FrameType | None) -> None:
        """End the process."""
        if self.advice is None:
            os._exit(self.status)
        _end_now(f"stopped by {signal.Signals(kind).name}; {self.advice}")


def end_on_signals(advice: str) -> None:
    """Have stop signals end this process with status 75, and a message that ends with `advice`.

    Call it before slow imports; `StopSignals` takes over later.
    """
    for kind in HANDLED_SIGNALS:
        signal.signal(kind, _EndAtOnce(ExitStatus.RESUMABLE, advice))


def keep_status_on_signals(status: int) -> None:
    """Have stop signals end this process with the `status` of its finished work, if `end_on_signals` was called.

    mpirun sends SIGTERM to the other workers as soon as the first one has ended with an error.
    """
    for kind in HANDLED_SIGNALS:
        if isinstance(signal.getsignal(kind), _EndAtOnce):
            signal.signal(kind, _EndAtOnce(status, None))


def _end_now(message: str) -> NoReturn:
    """Print an error and end the process with status 75; worker 0 speaks first, and mostly alone."""
    rank, size = launcher_rank()
    if rank:
        time.sleep(1)  # the launcher ends this worker once worker 0 has ended
    where = f"worker {rank} of {size} is " if rank else ""
    print(f"error: {where}{message}", file=sys.stderr, flush=True)
    os._exit(ExitStatus.RESUMABLE)
