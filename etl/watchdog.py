"""Notice that a process makes no progress, and end it, whatever its threads wait for."""

import os
import sys
from typing import NoReturn

__all__ = ["IdleTime", "exit_now"]


class IdleTime:
    """Seconds for which a value has stayed the same.

    Only seconds in which this process runs are counted, so that a job that is suspended as a whole can be continued.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        """Seconds since the last change."""
        self._last: object = None

    def after(self, step_s: float, value: object) -> float:
        """Seconds without a change, `step_s` after the last call, when the value is `value`."""
        self.seconds = self.seconds + step_s if value == self._last else 0.0
        self._last = value
        return self.seconds


def exit_now(message: str, status: int) -> NoReturn:
    """Print an error and end the process, whatever its other threads are waiting for."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(status)
