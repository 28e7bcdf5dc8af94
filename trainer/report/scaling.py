"""Group runs into series over the number of workers, with mean and standard deviation of repeats."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainer.report.runs import RecordedRun

__all__ = ["ANY_LENGTH", "ANY_STORE", "REPEATS", "ScalingPoint", "ScalingSeries", "perfect_scaling", "scaling_series"]

REPEATS = frozenset({"out", "seed", "dry_run", "threads", "resume", "checkpoint_steps"})
"""Settings that may differ among the runs of one series; `threads` follows from how workers share a node."""

ANY_LENGTH = REPEATS | {"epochs", "steps", "validate_every", "patience"}
"""Settings that may differ in a series that compares the time of an epoch."""

ANY_STORE = REPEATS | {"store"}
"""Settings that may differ in a series over several stores; stores with other upsampling are other series."""


@dataclass(frozen=True, slots=True)
class ScalingPoint:
    """Runs of one series with the same number of workers."""

    workers: int
    """Number of workers."""

    values: tuple[float, ...]
    """Value of each repeat: seconds, or a score."""

    @property
    def mean(self) -> float:
        """Mean over repeats, in the unit of the values."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float:
        """Sample standard deviation over repeats, in the unit of the values; 0 for a single run."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class ScalingSeries:
    """Runs that differ in the number of workers, but in no setting that matters for the comparison."""

    label: str
    """Settings by which it differs from the other series, and its upsampling."""

    upsample: str
    """Upsampling method of the stores."""

    points: tuple[ScalingPoint, ...]
    """By number of workers, smallest first."""

    number: int = 0
    """Number of its first run, by which it has its colour."""


def scaling_series(
    runs: Sequence[RecordedRun], value: Callable[[RecordedRun], float | None], may_differ: frozenset[str] = REPEATS
) -> list[ScalingSeries]:
    """Series of the runs whose `value` and number of workers are known; runs of a series differ only in `may_differ`.

    `value` gives the quantity to compare, such as the seconds of an epoch. Runs with another number of training rows,
    or another upsampling of the store, form other series.
    """
    values: dict[tuple[tuple[str, str], ...], dict[int, list[float]]] = {}
    first: dict[tuple[tuple[str, str], ...], int] = {}
    for run in runs:
        number = value(run)
        if number is not None and run.workers is not None:
            fixed = {key: text for key, text in run.settings.items() if key not in may_differ}
            traits = {**fixed, "upsample": run.upsample, "rows": str(run.record.get("rows"))}
            key = tuple(sorted(traits.items()))
            values.setdefault(key, {}).setdefault(run.workers, []).append(number)
            first.setdefault(key, run.number)
    shared = set.intersection(*map(set, values)) if values else set()
    series = []
    for key, by_workers in values.items():
        label = _label([trait for trait in key if trait not in shared or trait[0] == "upsample"])
        points = tuple(ScalingPoint(workers, tuple(repeats)) for workers, repeats in sorted(by_workers.items()))
        series.append(ScalingSeries(label, dict(key)["upsample"], points, first[key]))
    return series


def perfect_scaling(series: ScalingSeries) -> list[tuple[int, float]]:
    """(workers, seconds) if k times as many workers took 1/k of the time of the smallest number of workers."""
    first = series.points[0]
    return [(point.workers, first.mean * first.workers / point.workers) for point in series.points]


def _label(traits: list[tuple[str, str]]) -> str:
    names = {"upsample": "upsampling"}
    texts = [f"{names.get(name, name)} {Path(value).name if name == 'store' else value}" for name, value in traits]
    return ", ".join(texts)
