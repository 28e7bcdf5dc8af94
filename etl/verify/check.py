"""What came of a check, one line each, and the verdict over all of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from etl.exit_status import ExitStatus
from etl.store.location import Location

__all__ = ["Check", "Faults", "Report", "judge"]

_SHOWN = 3
"""Faults that a line names; the others are counted."""


@dataclass(slots=True)
class Faults:
    """What is wrong, counted; the first few in words."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(text)

    def extend(self, texts: Iterable[str]) -> None:
        """Count one more for each text."""
        for text in texts:
            self.add(text)

    def merge(self, other: "Faults") -> None:
        """Count those of another rank, whose rows follow."""
        self.count += other.count
        self.first = (self.first + other.first)[:_SHOWN]

    def __str__(self) -> str:
        more = f"; and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        return "; ".join(self.first) + more


@dataclass(frozen=True, slots=True)
class Check:
    """One check."""

    name: str
    """What was looked at."""

    passed: bool | None
    """None if it could not be made and need not be."""

    detail: str
    """What was counted, what is wrong, or why it was not made."""

    def __str__(self) -> str:
        word = "skipped" if self.passed is None else "ok" if self.passed else "FAILED"
        return f"{word:<8} {self.name:<14} {self.detail}"


def judge(name: str, good: str, faults: Faults) -> Check:
    """A check that passed with the words `good` if there are no faults."""
    return Check(name, not faults.count, f"{faults.count} wrong: {faults}" if faults.count else good)


@dataclass(slots=True)
class Report:
    """The checks of a run, on rank 0 alone; printed as they come."""

    checks: list[Check] = field(default_factory=list)

    def add(self, *checks: Check) -> None:
        """Note checks and print their lines."""
        self.checks += checks
        print(*checks, sep="\n", flush=True)

    def close(self, store: Location, pace: str = "") -> int:
        """Print the verdict, the last line; the exit status."""
        made = [check for check in self.checks if check.passed is not None]
        failed = [check.name for check in made if not check.passed]
        if not failed:
            verdict = f"{store} is good: {len(made)} checks passed"
        elif failed == ["complete"]:  # an interrupted run is no damage
            verdict = f"{store} is INCOMPLETE; what is there is good: {len(made) - 1} other checks passed"
        else:
            verdict = f"{store} is NOT GOOD: {len(failed)} of {len(made)} checks failed ({', '.join(failed)})"
        print(verdict + (f"; {pace}" if pace else ""), flush=True)
        return ExitStatus.FAILED if failed else ExitStatus.DONE
