"""Call a function within a limit of computing time, in a thread that is abandoned if it computes for longer.

Decoders in C cannot be interrupted. What an abandoned thread holds stays in memory until it ends by itself, and a
process that has one must not end by `sys.exit`: the thread would crash while its libraries are unloaded.
"""

import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["TimeLimit", "TimeLimitError", "is_computing"]

T = TypeVar("T")


class TimeLimitError(Exception):
    """A function computed for longer than its limit."""


class _Worker:
    """A thread that calls functions, one after another."""

    def __init__(self) -> None:
        self.tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.is_busy = False
        threading.Thread(target=self._run, name="limited", daemon=True).start()

    def _run(self) -> None:
        while True:
            self.tasks.get()()  # keeps no reference: what it fills may be large
            self.is_busy = False
            self.done.put(None)


_workers: list[_Worker] = []
"""All workers of this process, abandoned ones too."""


def is_computing() -> bool:
    """Whether a function still runs in a thread of a `TimeLimit`."""
    return any(worker.is_busy for worker in _workers)


class TimeLimit:
    """Calls functions in a thread of its own; one that computes for too long is abandoned with its thread."""

    def __init__(self, limit_s: float) -> None:
        """`limit_s`: most seconds that this process computes meanwhile; 0 for no limit and no thread."""
        self.limit_s = limit_s
        self._worker: _Worker | None = None

    def call(self, action: Callable[[], T]) -> T:
        """What `action` returns or raises.

        Time in which the process does not run, or waits for a disk, is not counted: it tells nothing about `action`.

        Raises:
            TimeLimitError: it computed for longer than the limit, and may go on with what it was given.
        """
        if not self.limit_s:
            return action()
        if self._worker is None:
            self._worker = _Worker()
            _workers.append(self._worker)
        results: list[T] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                results.append(action())
            except BaseException as error:  # the caller raises it
                errors.append(error)

        self._worker.is_busy = True
        self._worker.tasks.put(run)
        self._wait(self._worker)
        if errors:
            raise errors[0]
        return results[0]

    def _wait(self, worker: _Worker) -> None:
        step_s, spent_s, before_s = min(1.0, self.limit_s / 10), 0.0, time.process_time()
        while True:
            try:
                worker.done.get(timeout=step_s)
            except queue.Empty:
                now_s = time.process_time()
                spent_s, before_s = spent_s + min(step_s, now_s - before_s), now_s
                if spent_s < self.limit_s:
                    continue
                self._worker = None
                raise TimeLimitError(f"it took more than {self.limit_s:g} s of computing time") from None
            return
