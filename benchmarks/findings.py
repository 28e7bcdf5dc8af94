"""What a scenario gives back: figures, bars, every repeat; and how repeats are interleaved and reduced."""

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
"""Share of the machine that others may take of a repeat that counts as undisturbed."""


class Skipped(Exception):
    """The question cannot be answered here; the message says why."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What the contract asks of one figure."""

    figure: str
    """Name of the figure."""

    limit: float
    """Worst value that passes."""

    at_least: bool = False
    """Whether larger is better."""

    aim: float | None = None
    """Value that is aimed at."""

    def met(self, value: float) -> bool:
        """Whether `value` passes."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(slots=True)
class Findings:
    """The answer to one question."""

    figures: dict[str, float] = field(default_factory=dict)
    """Name with its unit -> number."""

    bars: list[Bar] = field(default_factory=list)
    """Which figures the contract holds to what."""

    repeats: list[dict[str, Any]] = field(default_factory=list)
    """Every single run, in the order in which they ran."""

    ranks: list[int] = field(default_factory=list)
    """Rank counts that were measured."""

    data: dict[str, Any] = field(default_factory=dict)
    """What was read and written: bytes, where, whether the page cache was warm."""

    layout: dict[str, Any] = field(default_factory=dict)
    """Block sizes, rows a call, alignment and what else decides the speed."""

    notes: list[str] = field(default_factory=list)
    """What a reader must know to judge the figures."""

    keep: list[Path] = field(default_factory=list)
    """Files in the scratch folder that are to lie beside the record."""


class Run(Protocol):
    """What one run gave back."""

    @property
    def disturbance(self) -> float:
        """Share of the machine's CPU time that other programs took meanwhile, 0 to 1."""

    def short(self, name: str) -> dict[str, Any]:
        """For the record."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """Interleaved repeats: every second one runs its tasks in reverse order."""

    all: list[dict[str, Any]]
    """What each task gave back, by name, one entry a repeat."""

    counted: list[int]
    """Repeats that count: the least disturbed ones, in order."""

    def of(self, name: str) -> list[Any]:
        """What one task gave back, in the repeats that count."""
        return [self.all[repeat][name] for repeat in self.counted]

    def short(self) -> list[dict[str, Any]]:
        """For the record: every run of every repeat."""
        return [
            run.short(name) | {"repeat": repeat, "counted": repeat in self.counted}
            for repeat, runs in enumerate(self.all)
            for name, run in runs.items()
        ]


def interleave(tasks: Mapping[str, Callable[[], Run]], repeats: int, spare: int = 0) -> Repeats:
    """Run all tasks in turn, `repeats` times; up to `spare` times more while some repeats were disturbed by others.

    Which repeats count follows from what other programs took of the machine, never from what was measured.
    """
    done: list[dict[str, Any]] = []
    while len(done) < repeats + spare:
        order = list(tasks) if len(done) % 2 == 0 else list(tasks)[::-1]
        runs = {name: tasks[name]() for name in order}
        done.append({name: runs[name] for name in tasks})
        if sum(_disturbance(each) <= QUIET for each in done) >= repeats:
            break
    return Repeats(done, least_disturbed([_disturbance(each) for each in done], repeats))


def _disturbance(runs: Mapping[str, Run]) -> float:
    return max(run.disturbance for run in runs.values())


def least_disturbed(disturbance: Sequence[float], keep: int) -> list[int]:
    """The `keep` repeats in which others took least of the machine, in order."""
    return sorted(sorted(range(len(disturbance)), key=lambda repeat: disturbance[repeat])[:keep])


def median_of(values: Sequence[float]) -> float:
    """The median."""
    return float(median(values))


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """The ratio in each repeat."""
    return [a / b for a, b in zip(above, below, strict=True)]


def put_ratio(figures: dict[str, float], name: str, above: Sequence[float], below: Sequence[float]) -> None:
    """Add the median of the repeats' own ratios as `<name>_ratio_median`, with the smallest and the largest."""
    found = ratios(above, below)
    figures[f"{name}_ratio_median"] = median_of(found)
    figures[f"{name}_ratio_min"], figures[f"{name}_ratio_max"] = min(found), max(found)
