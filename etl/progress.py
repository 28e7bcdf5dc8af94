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
        # imported only where a person watches: 0.2 s and 15 MiB that no other rank needs
        from rich import progress
        from rich.console import Console

        share = (progress.BarColumn(), progress.TaskProgressColumn())
        columns = ("{task.description}", *share, unit, progress.MofNCompleteColumn(), progress.TimeRemainingColumn())
        with progress.Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as bar:
            task = bar.add_task(what, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield _log_lines(what, total, unit)


def _log_lines(what: str, total: int, unit: str) -> Callable[[int], None]:
    start = last = time.monotonic()

    def show(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _EVERY_S and done:  # before the first item there is no estimate
            last, share, left_s = now, 100 * done / total, (now - start) / done * (total - done)
            log.info("%s: %.0f %%, %s %d of %d, about %.0f s left", what, share, unit, done, total, left_s)

    return show
