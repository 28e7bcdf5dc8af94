"""Scores of multi-label predictions, by scikit-learn, and the thresholds that give each class its highest F1.

scikit-learn is imported where it is used: it takes a second, and not every run has something to score.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "DEFAULT_THRESHOLD",
    "LEAST_POSITIVES",
    "Floats",
    "LabelScores",
    "score_predictions",
    "scores_line",
    "tuned_thresholds",
]

DEFAULT_THRESHOLD = 0.5
"""Threshold of a class without a tuned one."""

LEAST_POSITIVES = 10
"""Fewest rows with a class for which its threshold is tuned: on a handful, the best one is often near 0."""

Labels = npt.NDArray[np.uint8]
"""Shape (row, class): 0 or 1."""

Floats = npt.NDArray[np.float32]
"""Probabilities, shape (row, class), or thresholds, shape (class,)."""

LabelScores = dict[str, Any]
"""Scores of predictions as plain data, as they are written to JSON records.

"rows": number of rows; "micro", "macro" and "weighted": averages over classes of "precision", "recall" and "f1", each
in [0, 1], 0 if the denominator is 0; "mean_average_precision": mean over the classes that occur, in [0, 1], 0 if none
does; "classes": a list with the scores of each class, in the order of the label columns.

Of one class: "name", "precision", "recall", "f1", "support": number of rows with the label, "average_precision": in
[0, 1], None if there is no such row, "threshold": the class is predicted if its probability is at least this.
"""

_RATES = ("precision", "recall", "f1")


def score_predictions(
    labels: Labels, probabilities: Floats, thresholds: Floats | float, names: Sequence[str]
) -> LabelScores:
    """Scores of predicted probabilities against true labels, over all classes and of each class.

    `labels` are 0 or 1, dtype uint8, shape (row, class); `probabilities` float32, shape (row, class), in [0, 1];
    `thresholds` float32, shape (class,), or one for all classes; `names` one per class.

    Source: scikit-learn, precision_recall_fscore_support and average_precision_score.
    """
    _check(labels, probabilities)
    if len(names) != labels.shape[1]:
        raise ValueError(f"names must be one per class, {labels.shape[1]}, got {len(names)}")
    limits = np.broadcast_to(np.asarray(thresholds, np.float32), labels.shape[1:])
    predicted = (probabilities >= limits).astype(np.uint8)
    average_precisions = _average_precisions(labels, probabilities)
    occurring = [value for value in average_precisions if value is not None]
    averages = {
        average: dict(zip(_RATES, map(float, _rates(labels, predicted, average)[:3]), strict=True))
        for average in ("micro", "macro", "weighted")
    }
    rates = [values.tolist() for values in _rates(labels, predicted, None)]
    keys = ("name", *_RATES, "support", "average_precision", "threshold")
    by_class = zip(map(str, names), *rates, average_precisions, limits.tolist(), strict=True)
    return {
        "rows": len(labels),
        **averages,
        "mean_average_precision": float(np.mean(occurring)) if occurring else 0.0,
        "classes": [dict(zip(keys, of_class, strict=True)) for of_class in by_class],
    }


def scores_line(scores: LabelScores) -> str:
    """Averages over all classes, for the log and the terminal."""
    micro, macro = scores["micro"], scores["macro"]
    return (
        f"{scores['rows']} rows, micro precision {micro['precision']:.3f} recall {micro['recall']:.3f} "
        f"F1 {micro['f1']:.3f}, macro F1 {macro['f1']:.3f}, mean average precision "
        f"{scores['mean_average_precision']:.3f}"
    )


def tuned_thresholds(labels: Labels, probabilities: Floats, least: int = LEAST_POSITIVES) -> Floats:
    """For each class the threshold in (0, 1) with the highest F1 on these rows, dtype float32, shape (class,).

    Every distinct probability is tried. The threshold lies midway between the lowest probability that counts as
    positive and the next one below it; of equal F1 the highest such threshold is taken. It is `DEFAULT_THRESHOLD` if
    fewer than `least` rows have the class, or if no threshold finds one that has. `labels` and `probabilities` as in
    `score_predictions`.
    """
    _check(labels, probabilities)
    classes = zip(labels.T, probabilities.T, strict=True)
    return np.array(
        [
            _tuned(column == 1, values) if column.sum(dtype=np.int64) >= max(1, least) else DEFAULT_THRESHOLD
            for column, values in classes
        ],
        np.float32,
    )


def _tuned(positive: npt.NDArray[np.bool_], values: Floats) -> np.float32:
    """The threshold of one class: `positive` and `values` have shape (row,)."""
    from sklearn.metrics import confusion_matrix_at_thresholds

    # No threshold below 1 separates 1 from the float32 before it, and none above 0 counts a 0 as positive.
    below_one = np.minimum(values, np.nextafter(np.float32(1), np.float32(0)))
    _, wrong, _, right, distinct = confusion_matrix_at_thresholds(positive, below_one)
    f1 = np.where(distinct > 0, 2 * right / (right + wrong + max(right[-1], 1)), 0)
    best = int(np.argmax(f1))
    if f1[best] == 0:
        return np.float32(DEFAULT_THRESHOLD)
    lower = np.append(distinct[1:], np.float32(0))[best]
    middle = lower + (distinct[best] - lower) / np.float32(2)
    return np.float32(middle if middle > lower else distinct[best])  # neighbouring floats have no middle


def _check(labels: Labels, probabilities: Floats) -> None:
    if labels.ndim != 2 or not labels.size or labels.shape != probabilities.shape:
        shapes = f"{labels.shape} and {probabilities.shape}"
        raise ValueError(f"labels and probabilities must be of one shape (row, class), neither 0, got {shapes}")
    if (labels > 1).any():
        raise ValueError(f"labels must be 0 or 1, got {labels.max()}")
    outside = ~((probabilities >= 0) & (probabilities <= 1))
    if outside.any():
        row, column = np.argwhere(outside)[0]
        value = probabilities[row, column]
        raise ValueError(
            f"probabilities must lie in [0, 1], got {value} in row {row}, class {column} ({int(outside.sum())} such); "
            "did the training diverge?"
        )


def _rates(labels: Labels, predicted: Labels, average: str | None) -> tuple[Any, ...]:
    """(precision, recall, F1, support): arrays of shape (class,) if `average` is None, else three numbers and None."""
    from sklearn.metrics import precision_recall_fscore_support

    # scikit-learn takes one column as a binary choice of 0 or 1
    counted = range(labels.shape[1]) if labels.shape[1] > 1 else [1]
    return tuple(precision_recall_fscore_support(labels, predicted, labels=counted, average=average, zero_division=0))


def _average_precisions(labels: Labels, probabilities: Floats) -> list[float | None]:
    """Average precision of each class; None if no row has it."""
    from sklearn.metrics import average_precision_score

    pairs = zip(labels.T, probabilities.T, strict=True)
    return [float(average_precision_score(column, values)) if column.any() else None for column, values in pairs]
