"""End a worker that waits for a lost or stopped one: after an error of Horovod, or a time without progress."""

import threading
import time
import traceback
from typing import NoReturn

from etl.exit_status import ExitStatus
from etl.watchdog import IdleTime, exit_now
from trainer.workers.horovod import Workers
from trainer.workers.supervisor import RESUME_ADVICE

__all__ = ["abort", "start_watchdog"]


def start_watchdog(workers: Workers, limit_s: int) -> None:
    """End this worker with status 75 once `workers.progress_count` has not changed for `limit_s` seconds; 0 for never.

    A worker that is stopped or hangs raises no error in the others: they wait for it, and so does Horovod's own check.
    Only seconds in which this process runs are counted, so a job that is suspended as a whole can be continued.
    """

    def watch() -> None:
        """End this process once there was no progress for the limit."""
        idle = IdleTime()
        # worker 0 ends 2 s before the others and so is the one that prints, unless it is the one that hangs
        while idle.after(1, workers.progress_count) < limit_s + 2 * (workers.rank > 0):
            time.sleep(1)
        exit_now(
            f"worker {workers.rank} of {workers.size} has waited {limit_s} s for another, which hangs or is stopped; "
            f"all workers end. {RESUME_ADVICE}",
            ExitStatus.RESUMABLE,
        )

    if limit_s and workers.size > 1:
        threading.Thread(target=watch, name="watchdog", daemon=True).start()


def abort(workers: Workers, error: BaseException, advice: str) -> NoReturn:
    """Print `error` and end this worker at once, for otherwise the others would wait for it for ever.

    The launcher ends the others when a worker exits with an error. If the cause is another, lost worker, `error` is one
    of Horovod, the status is 75, and `advice` says how to continue.
    """
    where = f"worker {workers.rank} of {workers.size}: " if workers.size > 1 else ""
    if workers.size > 1 and "Horovod" in f"{type(error).__name__} {error}":
        last_line = str(error).strip().splitlines()[-1]
        exit_now(f"{where}another worker is lost ({last_line}); {advice}", ExitStatus.RESUMABLE)
    if isinstance(error, OSError):  # of a disk: no fault of the program
        exit_now(f"{where}{error}; {advice}", ExitStatus.FAILED)
    exit_now(where + "".join(traceback.format_exception(error)), ExitStatus.FAILED)
