"""What `trainer.evaluate` recorded beside the scores of a run: calibration, curves, confusion matrix, scores by tile.

Records may be damaged: what is not as `trainer.evaluate` writes it is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainer.report.json_values import as_list, as_mapping, as_number
from trainer.report.runs import RecordedRun

__all__ = ["Confusion", "Evaluation", "TileScores", "confusion_of", "evaluation_of", "interval_of", "worst_tiles"]

Numbers = npt.NDArray[np.float64]

_MAX_TILES = 10


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """How the probabilities of a run agree with the labels of one split, whatever the thresholds."""

    split: str
    """Name of the split."""

    calibration_error: float
    """Expected calibration error, in [0, 1]; NaN if it is not known."""

    bins: Numbers
    """(bin, 3): number of predictions, their mean probability, share of them that are true."""

    micro: Numbers | None
    """Precision-recall curve of all labels together, shape (point, 2): recall, ascending, and precision."""

    curves: Mapping[str, Numbers] = field(default_factory=dict)
    """The same of each class that occurs, by its name."""


@dataclass(frozen=True, slots=True, eq=False)
class Confusion:
    """Confusion matrix of a run on one split."""

    split: str
    """Name of the split."""

    classes: tuple[str, ...]
    """Names of the classes."""

    counts: npt.NDArray[np.int64]
    """(true class, predicted class): number of rows."""


class TileScores(NamedTuple):
    """Scores of the rows of one tile, at threshold 0.5."""

    split: str
    tile: str
    rows: int
    micro_f1: float
    macro_f1: float
    """Mean over the classes that are true or predicted there."""


def evaluation_of(run: RecordedRun) -> Evaluation | None:
    """The evaluation of a run on the first of its splits that has one; None if there is none."""
    evaluations = as_mapping(run.record.get("evaluations"))
    for split in run.splits:
        record = as_mapping(evaluations.get(split))
        calibration, curves = as_mapping(record.get("calibration")), as_mapping(record.get("precision_recall"))
        if calibration or curves:
            of_class = {name: _curve(curve) for name, curve in as_mapping(curves.get("classes")).items()}
            return Evaluation(
                split,
                as_number(calibration.get("expected_calibration_error")),
                _columns(as_list(calibration.get("bins")), ("count", "probability", "share")),
                _curve(curves.get("micro")),
                {name: curve for name, curve in of_class.items() if curve is not None},
            )
    return None


def confusion_of(run: RecordedRun) -> Confusion | None:
    """The confusion matrix of a run on the first of its splits that has one; None unless rows have one class each."""
    for split in run.splits:
        scores = run.scores(split) or {}
        names = tuple(str(as_mapping(one).get("name")) for one in as_list(scores.get("classes")))
        counts = [[as_number(count) for count in as_list(line)] for line in as_list(scores.get("confusion"))]
        if names and [len(line) for line in counts] == [len(names)] * len(names) and np.isfinite(counts).all():
            return Confusion(split, names, np.array(counts).astype(np.int64))
    return None


def worst_tiles(run: RecordedRun) -> list[TileScores]:
    """The ten tiles with the lowest micro F1, lowest first, of the first of the run's splits that has several tiles."""
    for split in run.splits:
        tiles = []
        for record in map(as_mapping, as_list((run.scores(split) or {}).get("tiles"))):
            rows, *f1 = (as_number(record.get(name)) for name in ("rows", "micro_f1", "macro_f1"))
            if np.isfinite([rows, *f1]).all():
                tiles.append(TileScores(split, str(record.get("tile")), int(rows), *f1))
        if len(tiles) > 1:
            return sorted(tiles, key=lambda tile: tile.micro_f1)[:_MAX_TILES]
    return []


def interval_of(scores: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """The interval (low, high) of the score of this name, see `bootstrap_intervals`; None if it is not known."""
    ends = [as_number(end) for end in as_list(as_mapping(scores.get("intervals")).get(name))]
    return (ends[0], ends[1]) if len(ends) == 2 and np.isfinite(ends).all() else None


def _curve(value: object) -> Numbers | None:
    """A recorded curve as shape (point, 2); None if it is damaged or empty."""
    lists = [as_list(as_mapping(value).get(name)) for name in ("recall", "precision")]
    points = [[as_number(number) for number in point] for point in zip(*lists, strict=False)]
    curve = np.array(points, np.float64)
    return curve if len(curve) and np.isfinite(curve).all() else None


def _columns(records: Sequence[object], names: Sequence[str]) -> Numbers:
    """The numbers of these names in each record, shape (record, name); records that lack one are left out."""
    lines = [[as_number(as_mapping(record).get(name)) for name in names] for record in records]
    numbers = np.array(lines, np.float64).reshape(-1, len(names))
    return numbers[np.isfinite(numbers).all(axis=1)]
