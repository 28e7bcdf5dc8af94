"""Progress of a long loop: a live bar on a terminal, one plain line every 10 s in a log."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

__all__ = ["report_progress"]

log = logging.getLogger(__name__)

_EVERY_S = 10.0


@contextlib.contextmanager
def report_progress(what: str, total: int, unit: str, enabled: bool = True) -> Iterator[Callable[[int], None]]:
    """Show how far a loop over `total` items is; yields what the loop calls with the number of items done so far.

    Lines look like `extract: 40 %, round 2 of 5, about 30 s left`, with `what` in front and `unit` before the number.
    Pass `enabled=comm.rank == 0`, so that of many ranks one speaks.
    """
    if not enabled or not total:
        yield lambda done: None
    elif sys.stderr.isatty():
        with _live_bar(what, total, unit) as update:
            yield update
    else:
        yield _LogLines(what, total, unit)


class _LogLines:
    """Logs one line every 10 s."""

    def __init__(self, what: str, total: int, unit: str) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._start = self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if now - self._last < _EVERY_S or not done:
            return
        self._last = now
        left_s = (now - self._start) / done * (self._total - done)
        share = f"{100 * done / self._total:.0f} %"
        log.info("%s: %s, %s %d of %d, about %.0f s left", self._what, share, self._unit, done, self._total, left_s)


@contextlib.contextmanager
def _live_bar(what: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    # imported only where a person watches: 0.2 s and 15 MiB that no other rank needs
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TextColumn(unit),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)
