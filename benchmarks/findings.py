"""Result of a scenario: figures, bars and all repeats; and functions that run and summarise repeats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Protocol

__all__ = [
    "Bar",
    "Findings",
    "Repeats",
    "Run",
    "Skipped",
    "interleave",
    "least_disturbed",
    "median_of",
    "put_ratio",
    "ratios",
]

QUIET = 0.1
"""Largest share of the machine's CPU time that other programs may use in an undisturbed repeat."""


class Skipped(Exception):
    """Raised if a question cannot be answered on this machine; the message says why."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Limit that a figure must keep."""

    figure: str
    """Name of the figure."""

    limit: float
    """Worst value that is accepted."""

    at_least: bool = False
    """Whether larger values are better."""

    aim: float | None = None
    """Better value to work towards."""

    def met(self, value: float) -> bool:
        """Whether `value` keeps the limit."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(slots=True)
class Findings:
    """The answer to one question."""

    figures: dict[str, float] = field(default_factory=dict)
    """Value of each figure by name, which includes the unit."""

    bars: list[Bar] = field(default_factory=list)
    """Limits of some of the figures."""

    repeats: list[dict[str, Any]] = field(default_factory=list)
    """Every single run, in the order of running."""

    ranks: list[int] = field(default_factory=list)
    """Numbers of ranks that were measured."""

    data: dict[str, Any] = field(default_factory=dict)
    """Data that were read and written: bytes, place, state of the page cache."""

    layout: dict[str, Any] = field(default_factory=dict)
    """Settings that decide the speed, such as block sizes, rows per call, alignment."""

    notes: list[str] = field(default_factory=list)
    """Facts that a reader needs to judge the figures."""

    keep: list[Path] = field(default_factory=list)
    """Files in the scratch folder to copy beside the record."""


class Run(Protocol):
    """Result of one run."""

    @property
    def disturbance(self) -> float:
        """Share of the machine's CPU time that other programs used in the meantime, 0 to 1."""

    def to_record(self, name: str) -> dict[str, Any]:
        """Plain data for the record."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Interleaved repeats: every second one runs its tasks in reverse order."""

    all: list[dict[str, Any]]
    """Result of each task by name, one entry per repeat."""

    counted: list[int]
    """Indices of the repeats that count, which are the least disturbed ones, in order."""

    def runs_of(self, name: str) -> list[Any]:
        """Results of one task in the repeats that count."""
        return [self.all[repeat][name] for repeat in self.counted]

    def to_record(self) -> list[dict[str, Any]]:
        """Plain data for the record: every run of every repeat."""
        return [
            run.to_record(name) | {"repeat": repeat, "counted": repeat in self.counted}
            for repeat, runs in enumerate(self.all)
            for name, run in runs.items()
        ]


def interleave(tasks: Mapping[str, Callable[[], Run]], repeats: int, spare: int = 0) -> Repeats:
    """Run all tasks alternately `repeats` times, and up to `spare` times more if other programs disturbed repeats.

    Which repeats count depends on how much CPU time other programs used, never on what was measured.
    """
    done: list[dict[str, Any]] = []
    while len(done) < repeats + spare:
        order = list(tasks) if len(done) % 2 == 0 else list(tasks)[::-1]
        runs = {name: tasks[name]() for name in order}
        done.append({name: runs[name] for name in tasks})
        if sum(_disturbance(runs) <= QUIET for runs in done) >= repeats:
            break
    return Repeats(done, least_disturbed([_disturbance(runs) for runs in done], repeats))


def _disturbance(runs: Mapping[str, Run]) -> float:
    return max(run.disturbance for run in runs.values())


def least_disturbed(disturbance: Sequence[float], keep: int) -> list[int]:
    """Indices of the `keep` repeats with the least disturbance by other programs, in order."""
    return sorted(sorted(range(len(disturbance)), key=lambda repeat: disturbance[repeat])[:keep])


def median_of(values: Sequence[float]) -> float:
    """The median of some numbers, in their unit."""
    return float(median(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio of two figures in each repeat."""
    return [a / b for a, b in zip(above, below, strict=True)]


def put_ratio(figures: dict[str, float], name: str, above: Sequence[float], below: Sequence[float]) -> None:
    """Add the median of the ratios of all repeats as `<name>_ratio_median`, and the smallest and the largest one."""
    by_repeat = ratios(above, below)
    figures[f"{name}_ratio_median"] = median_of(by_repeat)
    figures[f"{name}_ratio_min"], figures[f"{name}_ratio_max"] = min(by_repeat), max(by_repeat)
