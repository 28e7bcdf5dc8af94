"""What runs with different numbers of workers tell together: means and deviations over repeats, perfect scaling."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.report.runs import PastRun

__all__ = ["ANY_LENGTH", "ANY_STORE", "REPEATS", "Point", "Series", "perfect", "series_of"]

REPEATS = frozenset({"out", "seed", "dry_run", "threads", "resume", "checkpoint_steps"})
"""Settings in which repeats, and runs of one series, may differ; `threads` follows from how workers share a node."""

ANY_LENGTH = REPEATS | {"epochs", "steps", "validate_every", "patience"}
"""The same where the time of one epoch is compared."""

ANY_STORE = REPEATS | {"store"}
"""The same where upsampling alone tells stores apart."""


@dataclass(frozen=True, slots=True)
class Point:
    """Runs of one series with the same number of workers."""

    workers: int
    """How many workers."""

    values: tuple[float, ...]
    """Of each repeat."""

    @property
    def mean(self) -> float:
        """Mean over repeats."""
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float:
        """Standard deviation of the sample over repeats, 0 of a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Series:
    """Runs that are alike but for the number of workers."""

    label: str
    """What tells it from the other series, and its upsampling."""

    upsample: str
    """How the stores' bands were brought to 10 m."""

    points: tuple[Point, ...]
    """By number of workers, least first."""


def series_of(
    runs: Sequence[PastRun], value: Callable[[PastRun], float | None], may_differ: frozenset[str] = REPEATS
) -> list[Series]:
    """Runs that have `value` and a number of workers, sorted into series; settings in `may_differ` part no series.

    Training rows part series too, as does the store's upsampling.
    """
    found: dict[tuple[tuple[str, str], ...], dict[int, list[float]]] = {}
    for run in runs:
        number = value(run)
        if number is not None and run.workers is not None:
            traits = tuple(sorted(_traits(run, may_differ).items()))
            found.setdefault(traits, {}).setdefault(run.workers, []).append(number)
    shared = set.intersection(*map(set, found)) if found else set()
    out = []
    for traits, by_workers in found.items():
        label = _label([trait for trait in traits if trait not in shared or trait[0] == "upsample"])
        out.append(Series(label, dict(traits)["upsample"], _points(by_workers)))
    return out


def perfect(series: Series) -> list[tuple[int, float]]:
    """(workers, seconds) if time fell as workers are added, from the mean at the least number of workers."""
    first = series.points[0]
    return [(point.workers, first.mean * first.workers / point.workers) for point in series.points]


def _traits(run: PastRun, may_differ: frozenset[str]) -> dict[str, str]:
    kept = {key: value for key, value in run.settings.items() if key not in may_differ}
    return {**kept, "upsample": run.upsample, "rows": str(run.record.get("rows"))}


def _points(by_workers: dict[int, list[float]]) -> tuple[Point, ...]:
    return tuple(Point(workers, tuple(values)) for workers, values in sorted(by_workers.items()))


def _label(traits: list[tuple[str, str]]) -> str:
    words = {"upsample": "upsampling"}
    return ", ".join(
        f"{words.get(name, name)} {Path(value).name if name == 'store' else value}" for name, value in traits
    )
