"""What every command of the trainer does around its work: settings, logging, workers, exit status."""

import contextlib
import io
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar

from etl.settings import load
from etl.stderr import suppress_stderr
from trainer.workers.horovod import RESUMABLE, WorkerError, Workers, abandon, connect, launched

__all__ = ["claim", "run_command"]

log = logging.getLogger("trainer")

S = TypeVar("S")


def run_command(cls: type[S], name: str, argv: Sequence[str] | None, work: Callable[[S, Workers], int]) -> int:
    """Run `work` on this worker with its settings; returns the exit status."""
    rank, size = launched()
    speaker = rank == 0
    with contextlib.nullcontext() if speaker else contextlib.redirect_stderr(io.StringIO()):
        settings = load(cls, name, argv)
    logging.basicConfig(
        level=logging.INFO if speaker else logging.WARNING,
        format="%(message)s" if speaker else f"r{rank:03d}/{size} %(message)s",
        stream=sys.stderr,
    )
    previous = signal.signal(signal.SIGTERM, _stop)
    try:
        with suppress_stderr():
            workers = connect()
        try:
            return work(settings, workers)
        except (WorkerError, KeyboardInterrupt):
            raise
        except BaseException as error:
            abandon(workers, error)
    except KeyboardInterrupt:
        if speaker:
            log.error("error: stopped by a signal; --resume goes on from the last checkpoint")
        if size > 1:
            os._exit(RESUMABLE)  # the others may be waiting for this one
        return RESUMABLE
    except WorkerError as error:
        if speaker:
            log.error("error: %s", error)
        return error.status
    finally:
        signal.signal(signal.SIGTERM, previous)


def _stop(kind: int, frame: FrameType | None) -> None:
    signal.signal(kind, signal.SIG_IGN)  # a second one would end what the first one began
    raise KeyboardInterrupt


def claim(threads: int, workers: Workers) -> Any:
    """Give TensorFlow this worker's share of the node; comes before its first operation."""
    with suppress_stderr():
        from trainer.workers import devices
    devices.claim(threads, workers.local_rank, workers.local_size)
