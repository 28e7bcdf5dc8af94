"""What each thread of this process does now, so that a watchdog can name what makes no progress.

To note an activity costs about a microsecond: no clock is read and nobody is told. A watchdog looks now and then, and
an activity that it meets again is one that lasts. The notes belong to the process, as the handlers of `logging` do.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["Activity", "activities", "doing", "now_doing"]


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """What one thread does; each is a new one, so that the same work again counts as progress."""

    what: str
    """In words, such as `decoding B02.jp2, block at row 0, column 1024`."""

    unit: str = ""
    """The part of the source that is read, which can be rejected; empty if it is none."""

    waits: bool = False
    """Whether it waits for another rank or thread, and so cannot be the one that hangs."""

    together: bool = False
    """Whether it may also wait for other ranks, as a collective write does."""


_now: dict[int, Activity] = {}
"""Activity by number of the thread."""


def now_doing(what: str, unit: str = "") -> None:
    """Note what this thread does from now on."""
    _now[threading.get_ident()] = Activity(what, unit)


@contextlib.contextmanager
def doing(what: str, unit: str = "", *, waits: bool = False, together: bool = False) -> Iterator[None]:
    """Note what this thread does in the `with` block; what it did before goes on after it."""
    thread = threading.get_ident()
    before = _now.get(thread)
    _now[thread] = Activity(what, unit, waits, together)
    try:
        yield
    finally:
        if before is None:
            del _now[thread]
        else:  # a new one: there was progress
            _now[thread] = Activity(before.what, before.unit, before.waits, before.together)


def activities() -> dict[int, Activity]:
    """What each thread that noted something does now, by number of the thread."""
    return dict(_now)
