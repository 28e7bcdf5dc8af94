"""Results of checks, one line each, and the verdict over all of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from etl.exit_status import ExitStatus
from etl.store.location import Location

__all__ = ["Check", "Faults", "Report", "judge"]

_REPAIRABLE = {"digests", "checksums", "rejected rows", "statistics", "rejected list"}
"""Checks that find what is no longer as it was written."""

_SHOWN = 3
"""Number of faults that a line names; others are only counted."""


@dataclass(slots=True)
class Faults:
    """Number of faults that a check found, and the text of the first few."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Add one fault."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(text)

    def extend(self, texts: Iterable[str]) -> None:
        """Add one fault for each text."""
        for text in texts:
            self.add(text)

    def merge(self, other: "Faults") -> None:
        """Add the faults of another rank, whose rows follow this one's."""
        self.count += other.count
        self.first = (self.first + other.first)[:_SHOWN]

    def __str__(self) -> str:
        more = f"; and {self.count - len(self.first)} more" if self.count > len(self.first) else ""
        return "; ".join(self.first) + more


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one check."""

    name: str
    """What was checked."""

    passed: bool | None
    """None if the check was skipped."""

    detail: str
    """What was counted, what is wrong, or why the check was skipped."""

    def __str__(self) -> str:
        word = "skipped" if self.passed is None else "ok" if self.passed else "FAILED"
        return f"{word:<8} {self.name:<14} {self.detail}"


def judge(name: str, good: str, faults: Faults) -> Check:
    """The result of a check: passed, with the words `good`, if there are no faults."""
    return Check(name, not faults.count, f"{faults.count} wrong: {faults}" if faults.count else good)


@dataclass(slots=True)
class Report:
    """Results of all checks so far, on rank 0 alone; each is printed when it is added."""

    checks: list[Check] = field(default_factory=list)

    advice: str = ""
    """How to repair the store."""

    def add(self, *checks: Check) -> None:
        """Add results and print their lines."""
        self.checks += checks
        print(*checks, sep="\n", flush=True)

    def close(self, store: Location, pace: str = "") -> int:
        """Print the last line, the verdict, and return the exit status."""
        done = [check for check in self.checks if check.passed is not None]
        failed = [check.name for check in done if not check.passed]
        if not failed:
            verdict = f"{store} is good: {len(done)} checks passed"
        elif failed == ["complete"]:  # an interrupted run is no damage
            verdict = f"{store} is INCOMPLETE; what is there is good: {len(done) - 1} other checks passed"
        else:
            verdict = f"{store} is NOT GOOD: {len(failed)} of {len(done)} checks failed ({', '.join(failed)})"
            if self.advice and _REPAIRABLE.intersection(failed):
                verdict += f"; to repair it, {self.advice}"
        print(verdict + (f"; {pace}" if pace else ""), flush=True)
        return ExitStatus.FAILED if failed else ExitStatus.DONE
