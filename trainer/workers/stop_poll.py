"""Ask all workers, now and then during long work, whether a signal has come to any of them."""

import time

from trainer.workers.horovod import Workers

__all__ = ["StopPoll"]

_INTERVAL_S = 4.0
"""Seconds between two questions, about."""


class StopPoll:
    """Asks after pieces of work of which every worker does the same number, such as batches."""

    def __init__(self, workers: Workers) -> None:
        self._workers, self._pieces, self._interval, self._start_s = workers, 0, 1, 0.0

    def __call__(self) -> bool:
        """Collective: call it after each piece; True once a signal has asked any worker to stop.

        Always False where signals end the command by themselves, see `StopSignals.deferring`.
        """
        workers = self._workers
        if not workers.signals.deferring or workers.size == 1:
            return workers.signals.deferring and workers.signals.requested
        self._pieces += 1
        if self._pieces == 1:  # it includes compiling: the second one tells how long a piece takes
            self._start_s = time.perf_counter()
            return False
        if self._pieces == 2:
            piece_s = max(1e-3, time.perf_counter() - self._start_s)
            self._interval = min(workers.allgather(max(1, round(_INTERVAL_S / piece_s))))
        return self._pieces % self._interval == 0 and workers.any_stop()
