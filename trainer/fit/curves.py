"""Calibration and precision-recall curves of predictions, as plain data."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.fit.metrics import Floats, Labels

__all__ = ["calibration", "precision_recall_curves"]

_BINS = 15
"""Bins of equal width. Source: Guo et al. 2017, table 1."""

_MAX_POINTS = 200
"""Most points of one curve."""

_DECIMALS = 6
"""Decimals of the points of a curve."""


def calibration(labels: Labels, probabilities: Floats) -> dict[str, Any]:
    """How well probabilities agree with frequencies, over all labels of all rows; both arrays of shape (row, class).

    "bins": of each fifteenth of [0, 1] that holds probabilities their number, "count", their mean, "probability", and
    the share of these labels that are true, "share". "expected_calibration_error": the mean difference of the last two,
    weighted by the count, in [0, 1].

    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, equation 3; here each label is one prediction.
    """
    values = probabilities.ravel().astype(np.float64)
    bins = np.minimum((values * _BINS).astype(np.intp), _BINS - 1)  # 1 belongs to the last bin
    count = np.bincount(bins, minlength=_BINS)
    filled = count > 0
    sums = [np.bincount(bins, weights, _BINS)[filled] for weights in (values, labels.ravel())]
    count, probability, share = count[filled], *(total / count[filled] for total in sums)
    columns = zip(count.tolist(), probability.tolist(), share.tolist(), strict=True)
    return {
        "expected_calibration_error": float(np.average(abs(probability - share), weights=count)),
        "bins": [{"count": n, "probability": mean, "share": true} for n, mean, true in columns],
    }


def precision_recall_curves(labels: Labels, probabilities: Floats, names: Sequence[str]) -> dict[str, Any]:
    """Precision-recall curves: "micro", of all labels together, and "classes", by name, of the classes that occur.

    Each has "recall", ascending, "precision" and "threshold": lists of equal length, of at most 200 points, which are
    evenly chosen from all. `labels` and `probabilities` have the shape (row, class). "micro" is None without labels.
    """
    classes = zip(map(str, names), labels.T, probabilities.T, strict=True)
    return {
        "micro": _curve(labels.ravel(), probabilities.ravel()) if labels.any() else None,
        "classes": {name: _curve(true, values) for name, true, values in classes if true.any()},
    }


def _curve(labels: Labels, probabilities: Floats) -> dict[str, list[float]]:
    """The curve of labels and probabilities of shape (label,), of which at least one is true."""
    from sklearn.metrics import precision_recall_curve

    precision, recall, threshold = precision_recall_curve(labels, probabilities, drop_intermediate=True)
    # scikit-learn's last point, of recall 0, has no threshold
    chosen = np.unique(np.linspace(len(threshold) - 1, 0, _MAX_POINTS).astype(np.intp))[::-1]
    columns = {"recall": recall, "precision": precision, "threshold": threshold}
    return {name: np.round(values[chosen].astype(np.float64), _DECIMALS).tolist() for name, values in columns.items()}
