"""What each thread of this process does now, so that a watchdog can name what makes no progress.

To note an activity costs about a microsecond: no clock is read and nobody is told. A watchdog looks now and then, and
an activity that it meets again is one that lasts. The notes belong to the process, as the handlers of `logging` do.
"""

import threading
from dataclasses import dataclass

__all__ = ["Activity", "activities", "doing", "now_doing"]


@dataclass(slots=True, eq=False)
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


class doing:  # used as a function; `contextlib.contextmanager` would take thrice as long
    """Note what this thread does in the `with` block; what it did before goes on after it."""

    __slots__ = ("_activity", "_before", "_thread")

    def __init__(self, what: str, unit: str = "", *, waits: bool = False, together: bool = False) -> None:
        """The arguments are those of `Activity`."""
        self._activity = Activity(what, unit, waits, together)

    def __enter__(self) -> None:
        self._thread = threading.get_ident()
        self._before = _now.get(self._thread)
        _now[self._thread] = self._activity

    def __exit__(self, *_: object) -> None:
        before = self._before
        if before is None:
            del _now[self._thread]
        else:  # a new one: there was progress
            _now[self._thread] = Activity(before.what, before.unit, before.waits, before.together)


def activities() -> dict[int, Activity]:
    """What each thread that noted something does now, by number of the thread."""
    return dict(_now)
