"""Scores of predictions, by scikit-learn, and the thresholds that give each class its highest F1.

scikit-learn is imported where it is used: it takes a second, and not every run has something to score.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.fit.ranking import ranking_scores

__all__ = [
    "DEFAULT_THRESHOLD",
    "LEAST_POSITIVES",
    "Floats",
    "LabelScores",
    "Labels",
    "best_score",
    "predicted_by",
    "row_cross_entropy",
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
in [0, 1], 0 if the denominator is 0; "classes": a list with the scores of each class, in the order of the columns.

"mean_average_precision": the macro average, over the classes that occur; "micro_average_precision": of all labels
together; both in [0, 1], 0 if no label occurs. "ranking_loss", "coverage_error", "one_error": see `ranking_scores`.
"hamming_loss": share of labels that are predicted wrongly; "subset_accuracy": share of rows of which all labels are
predicted right. "loss": mean of `row_cross_entropy`.

Of data with one class a row also "accuracy": share of rows whose most probable class is theirs, and "confusion": number
of rows by their class, which is the index of the list, and by most probable class, the index within it.

Of one class: "name", "precision", "recall", "f1", "support": number of rows with the label, "average_precision": in
[0, 1], None if there is no such row, "threshold": the class is predicted if its probability is at least this.
"""

_RATES = ("precision", "recall", "f1")


def score_predictions(
    labels: Labels,
    probabilities: Floats,
    thresholds: Floats | float,
    names: Sequence[str],
    single_label: bool = False,
) -> LabelScores:
    """Scores of predicted probabilities against true labels, over all classes and of each class.

    `labels` are 0 or 1, dtype uint8, shape (row, class); `probabilities` float32, shape (row, class), in [0, 1];
    `thresholds` float32, shape (class,), or one for all classes; `names` one per class; `single_label`: each row has
    exactly one class: the most probable one counts as predicted, whatever the thresholds; accuracy and confusion matrix
    are added, and the loss is that of one choice among classes.

    Source: scikit-learn, whose functions of these names give the same on the same arrays.
    """
    _check(labels, probabilities)
    if len(names) != labels.shape[1]:
        raise ValueError(f"names must be one per class, {labels.shape[1]}, got {len(names)}")
    if single_label and (labels.sum(axis=1, dtype=np.int64) != 1).any():
        row = int((labels.sum(axis=1, dtype=np.int64) != 1).argmax())
        raise ValueError(f"each row must have one class, got {labels[row].sum(dtype=np.int64)} in row {row}")
    limits = np.broadcast_to(np.asarray(thresholds, np.float32), labels.shape[1:])
    predicted = _predicted(probabilities, limits, single_label).astype(np.uint8)
    average_precisions = _average_precisions(labels, probabilities)
    occurring = [value for value in average_precisions if value is not None]
    averages = {
        average: dict(zip(_RATES, map(float, _rates(labels, predicted, average)[:3]), strict=True))
        for average in ("micro", "macro", "weighted")
    }
    rates = [values.tolist() for values in _rates(labels, predicted, None)]
    keys = ("name", *_RATES, "support", "average_precision", "threshold")
    by_class = zip(map(str, names), *rates, average_precisions, limits.tolist(), strict=True)
    (micro_average_precision,) = _average_precisions(labels.reshape(-1, 1), probabilities.reshape(-1, 1))
    return {
        "rows": len(labels),
        **averages,
        "mean_average_precision": float(np.mean(occurring)) if occurring else 0.0,
        "micro_average_precision": micro_average_precision or 0.0,
        **ranking_scores(labels, probabilities),
        "hamming_loss": float((predicted != labels).mean()),
        "subset_accuracy": float((predicted == labels).all(axis=1).mean()),
        "loss": float(row_cross_entropy(labels, probabilities, single_label).mean()),
        **(_scores_of_choices(labels, probabilities) if single_label else {}),
        "classes": [dict(zip(keys, of_class, strict=True)) for of_class in by_class],
    }


def row_cross_entropy(labels: Labels, probabilities: Floats, single_label: bool = False) -> npt.NDArray[np.float64]:
    """Cross-entropy of each row, shape (row,), in nats, without weights of classes or other options of training.

    The mean over classes of the binary cross-entropy; with `single_label` minus the logarithm of the probability of the
    row's class. Probabilities nearer to 0 or 1 than the resolution of float32, 1.2e-7, count as that far away, as in
    scikit-learn's log_loss. Arguments as in `score_predictions`.
    """
    resolution = np.finfo(np.float32).eps
    clipped = np.clip(probabilities.astype(np.float64), resolution, 1 - resolution)
    by_class = -np.log(np.where(labels == 1, clipped, 1 - clipped))
    losses: npt.NDArray[np.float64] = by_class[labels == 1] if single_label else by_class.mean(axis=1)
    return losses


def best_score(scores: LabelScores, name: str) -> float:
    """The value of one of `config.BEST_BY` among scores; the higher it is, the better the network."""
    if name == "loss":
        return -float(scores["loss"])
    if name.endswith("-f1"):
        return float(scores[name.removesuffix("-f1")]["f1"])
    return float(scores["micro_average_precision" if name == "micro-ap" else "mean_average_precision"])


def predicted_by(scores: LabelScores, probabilities: Floats) -> npt.NDArray[np.bool_]:
    """The classes that these `scores` count as predicted, by their thresholds or as the most probable ones.

    `probabilities` and the result have the shape (row, class).
    """
    limits = np.array([of_class["threshold"] for of_class in scores["classes"]], np.float32)
    return _predicted(probabilities, limits, "accuracy" in scores)


def _predicted(probabilities: Floats, thresholds: Floats, single_label: bool) -> npt.NDArray[np.bool_]:
    if single_label:
        best: npt.NDArray[np.bool_] = np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None]
        return best
    return probabilities >= thresholds


def scores_line(scores: LabelScores) -> str:
    """Averages over all classes, for the log and the terminal."""
    micro, macro = scores["micro"], scores["macro"]
    accuracy = f", accuracy {scores['accuracy']:.3f}" if "accuracy" in scores else ""
    return (
        f"{scores['rows']} rows, micro precision {micro['precision']:.3f} recall {micro['recall']:.3f} "
        f"F1 {micro['f1']:.3f}, macro F1 {macro['f1']:.3f}, mean average precision "
        f"{scores['mean_average_precision']:.3f}{accuracy}"
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


def _scores_of_choices(labels: Labels, probabilities: Floats) -> dict[str, Any]:
    """Accuracy and confusion matrix of rows that have one class each."""
    classes, chosen, true = labels.shape[1], probabilities.argmax(axis=1), labels.argmax(axis=1)
    counts = np.bincount(true * classes + chosen, minlength=classes**2).reshape(classes, classes)
    return {"accuracy": float((chosen == true).mean()), "confusion": counts.tolist()}
