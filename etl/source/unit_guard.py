"""Read one unit of the source: a product, or a block of a file; those that are named as hanging are refused.

A unit that computes for too long is abandoned. One that hangs otherwise, as on a file system that does not answer, is
what a watchdog names.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from etl.heartbeat import doing
from etl.time_limit import TimeLimit, TimeLimitError

__all__ = ["SlowUnitError", "UnitError", "UnitGuard"]

T = TypeVar("T")


class UnitError(Exception):
    """A unit cannot be read; the message is the reason."""


class SlowUnitError(UnitError):
    """A unit took longer than the limit."""


class UnitGuard:
    """Refuses units that are named as hanging, limits the time for others, and notes what is read."""

    def __init__(self, limit_s: float = 0, refused: Mapping[str, str] | None = None) -> None:
        """`limit_s`: most seconds of computing for one unit, 0 for no limit; `refused`: reason by unit."""
        self.refused = refused or {}
        self._limit = TimeLimit(limit_s)

    @property
    def limit_s(self) -> float:
        """Most seconds of computing for one unit; 0 for no limit."""
        return self._limit.limit_s

    def run(self, what: str, unit: str, action: Callable[[], T]) -> T:
        """What `action` returns or raises, within the limit; `what` says in words what it does.

        Raises:
            SlowUnitError: it took too long; it may go on with what it was given.
            UnitError: the unit is refused.
        """
        try:
            return self.run_unlimited(what, unit, lambda: self._limit.call(action))
        except TimeLimitError:
            raise self.too_slow(unit) from None

    def run_unlimited(self, what: str, unit: str, action: Callable[[], T]) -> T:
        """As `run`, without the limit."""
        reason = self.refused.get(unit)
        if reason is not None:
            raise UnitError(reason)
        with doing(f"{what} {unit}", unit):
            return action()

    def too_slow(self, unit: str) -> SlowUnitError:
        """The error for a unit that took longer than the limit."""
        return SlowUnitError(f"{unit}: it takes more than {self.limit_s:g} s of computing time (--block-s)")
