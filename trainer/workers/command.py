"""Frame of every command of the trainer: settings, logging, workers, exit status."""

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from etl.exit_status import ExitStatus, JobError
from etl.files import raise_open_files_limit
from etl.launcher import launcher_rank
from etl.output import escape_output
from etl.settings import load_settings
from etl.stderr import suppress_stderr
from trainer.workers.horovod import Workers, connect
from trainer.workers.interruption import StopSignals, keep_status_on_signals
from trainer.workers.supervisor import RERUN_ADVICE, RESUME_ADVICE
from trainer.workers.watchdog import abort

__all__ = ["run_command"]

log = logging.getLogger("trainer")

S = TypeVar("S")


def run_command(
    cls: type[S],
    name: str,
    argv: Sequence[str] | None,
    work: Callable[[S, Workers], int],
    positional: str | None = None,
) -> int:
    """Run `work` on this worker with settings of type `cls`; returns the exit status.

    `name` is the command's module, such as trainer.run; `argv` its flags, None for those of the process; `positional`
    the field that may be given without its flag.
    """
    escape_output()
    rank, size = launcher_rank()
    first = rank == 0
    # Every worker parses the same flags; only worker 0 prints a usage error.
    with contextlib.nullcontext() if first else contextlib.redirect_stderr(io.StringIO()):
        settings = load_settings(cls, name, argv, positional)
    advice = RESUME_ADVICE if hasattr(settings, "resume") else RERUN_ADVICE
    logging.basicConfig(
        level=logging.INFO if first else logging.WARNING,
        format="%(message)s" if first else f"r{rank:03d}/{size} %(message)s",
        stream=sys.stderr,
    )
    if problem := raise_open_files_limit():
        log.error("error: %s", problem)
        return ExitStatus.BAD_INPUT
    with StopSignals(advice) as signals:
        status = _status(lambda workers: work(settings, workers), signals, advice)
    keep_status_on_signals(status)
    return status


def _status(work: Callable[[Workers], int], signals: StopSignals, advice: str) -> int:
    """Connect the workers and run `work`; returns the exit status, also of an error, which worker 0 logs."""
    rank, size = launcher_rank()
    try:
        with suppress_stderr():
            workers = connect(signals)
        try:
            status = work(workers)
            if size > 1 and status == ExitStatus.RESUMABLE:
                os._exit(status)  # mpirun kills the others 2 s after the first one has ended
            return status
        except (JobError, KeyboardInterrupt):
            raise
        except BaseException as error:
            abort(workers, error, advice)
    except KeyboardInterrupt:
        if rank:
            time.sleep(1)  # worker 0, if it has the signal too, ends now and is the only one that speaks
        log.error("error: stopped by a signal; %s", advice)
        if size > 1:
            os._exit(ExitStatus.RESUMABLE)  # the others may be waiting for this one
        return ExitStatus.RESUMABLE
    except JobError as error:
        if rank == 0:
            log.error("error: %s", error)
        return error.status
