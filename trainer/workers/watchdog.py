"""End a worker that waits for a lost or stopped one: by an error of Horovod's, or after a time without progress."""

import os
import sys
import threading
import time
import traceback
from typing import NoReturn

from etl.exit_status import ExitStatus
from trainer.workers.horovod import Workers

__all__ = ["abort", "start_watchdog"]


def start_watchdog(workers: Workers, limit_s: int) -> None:
    """End this worker with status 75 once `workers.advances` has not changed for `limit_s` seconds; 0 for never.

    A worker that is stopped or hangs raises no error in the others: they wait for it, and Horovod's own check waits
    with them. Only seconds in which this process ran are counted, so a job that is suspended as a whole can go on.
    """

    def watch() -> None:
        seen, still_s = -1, 0
        while still_s < limit_s + 2 * (workers.rank > 0):  # worker 0 prints for all, unless it is the one that hangs
            seen, still_s = workers.advances, still_s + 1 if workers.advances == seen else 0
            time.sleep(1)
        _exit_now(
            f"worker {workers.rank} of {workers.size} has waited {limit_s} s for another, which hangs or is stopped; "
            "all workers end. --resume continues from the last checkpoint",
            ExitStatus.RESUMABLE,
        )

    if limit_s and workers.size > 1:
        threading.Thread(target=watch, name="watchdog", daemon=True).start()


def abort(workers: Workers, error: BaseException) -> NoReturn:
    """End this worker at once because of `error`: the others would wait for it for ever.

    The launcher ends the others when it sees a worker leave this way. If another worker is lost, this one meets an
    error of Horovod's and ends with status 75, because the run can be resumed.
    """
    where = f"worker {workers.rank} of {workers.size}: " if workers.size > 1 else ""
    if workers.size > 1 and "Horovod" in f"{type(error).__name__} {error}":
        last_line = str(error).strip().splitlines()[-1]
        text = f"{where}another worker is lost ({last_line}); --resume continues from the last checkpoint"
        _exit_now(text, ExitStatus.RESUMABLE)
    _exit_now(where + "".join(traceback.format_exception(error)), ExitStatus.FAILED)


def _exit_now(message: str, status: int) -> NoReturn:
    """Print an error and end the process, whatever its other threads are waiting for."""
    print(f"error: {message}", file=sys.stderr, flush=True)
    os._exit(status)
