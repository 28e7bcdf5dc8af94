"""Bootstrap intervals: how much scores vary if other rows of the same kind are scored."""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from trainer.fit.metrics import Floats, Labels, LabelScores, predicted_by

__all__ = ["bootstrap_intervals", "f1_of_counts", "resample_weights"]

_RESAMPLES, _SEED = 1000, 0
_CONFIDENCE = 0.95
_BLOCK_ROWS = 1024
_MAX_CUTS = 256
"""Most probabilities at which precision and recall are computed for the average precision of a resample."""

Counts = npt.NDArray[np.float64]


def bootstrap_intervals(
    labels: Labels, probabilities: Floats, scores: Mapping[str, LabelScores]
) -> dict[str, dict[str, tuple[float, float]]]:
    """For each of `scores` its intervals (low, high) of 95 % of "micro_f1", "macro_f1" and "micro_average_precision".

    `scores`: by any key, each of these `labels` and `probabilities`, shapes (row, class). The intervals span the
    2.5th to the 97.5th percentile over 1,000 resamples of the rows, which are the same in every call. Of more than
    256 different probabilities of true labels, the average precision is computed at 256 quantiles, and the interval
    is moved by what that changes without resampling. A class that a resample neither has nor predicts counts as the
    mean of the others there: as 0, it would draw macro-F1 down.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
    """
    cuts = _cuts(probabilities[labels == 1])
    predicted = [predicted_by(of_kind, probabilities) for of_kind in scores.values()]
    totals: Counts = np.zeros((_RESAMPLES + 1, 1))
    for rows, weights in resample_weights(len(labels), _RESAMPLES, _SEED):
        true, found = labels[rows], [kind[rows] for kind in predicted]
        by_class = [true, *(part for kind in found for part in (kind & (true == 1), kind))]
        counts = np.concatenate([*by_class, *_counts_above(true, probabilities[rows], cuts)], axis=1, dtype=np.float32)
        once = np.ones((1, weights.shape[1]), np.float32)  # each row once: the scores without resampling
        totals = totals + np.concatenate([weights, once]) @ counts
    classes, ends = labels.shape[1], 100 * (0.5 + np.array([-0.5, 0.5]) * _CONFIDENCE)
    support, *parts = np.split(totals[:, : classes * (1 + 2 * len(scores))], 1 + 2 * len(scores), axis=1)
    average_precision = _average_precision(*np.split(totals[:, classes * (1 + 2 * len(scores)) :], 2, axis=1))
    intervals = {}
    for (kind, of_kind), right, positive in zip(scores.items(), parts[::2], parts[1::2], strict=True):
        moved = of_kind["micro_average_precision"] - average_precision[-1]
        samples = {
            "micro_f1": f1_of_counts(right.sum(axis=1), positive.sum(axis=1), support.sum(axis=1)),
            "macro_f1": _macro_f1(right, positive, support),
            "micro_average_precision": average_precision + moved,
        }
        percentiles = {name: np.percentile(values[:-1], ends).tolist() for name, values in samples.items()}
        intervals[kind] = {name: (low, high) for name, (low, high) in percentiles.items()}
    return intervals


def f1_of_counts(right: Counts, positive: Counts, support: Counts) -> Counts:
    """F1 from the numbers of labels predicted and true, predicted, and true, of one shape; 0 if all are 0."""
    total = positive + support
    return np.divide(2 * right, total, out=np.zeros(total.shape), where=total > 0)


def _macro_f1(right: Counts, positive: Counts, support: Counts) -> Counts:
    """Macro-F1 of each resample, shape (resample,), from counts of shape (resample, class); the last has each row once.

    The mean over the classes that the resample has or predicts, times the share of such classes in the last one.
    """
    there = (positive + support > 0).sum(axis=1)
    mean = f1_of_counts(right, positive, support).sum(axis=1) / np.maximum(there, 1)
    macro: Counts = mean * there[-1] / support.shape[1]
    return macro


def resample_weights(rows: int, resamples: int, seed: int) -> Iterator[tuple[slice, npt.NDArray[np.float32]]]:
    """How often each resample draws each row: block by block of rows, weights of shape (resample, row of the block).

    Each resample draws as many rows as there are, with replacement: its weights over all blocks are multinomial. First
    it is drawn how many of them fall into each block.
    """
    rng = np.random.default_rng(seed)
    starts = np.arange(0, rows, _BLOCK_ROWS)
    sizes = np.minimum(rows - starts, _BLOCK_ROWS)
    drawn = rng.multinomial(rows, sizes / rows, size=resamples)
    for start, size, counts in zip(starts.tolist(), sizes.tolist(), drawn.T, strict=True):
        resample = np.repeat(np.arange(resamples), counts)
        places = resample * size + rng.integers(size, size=len(resample))
        weights = np.bincount(places, minlength=resamples * size).reshape(resamples, size)
        yield slice(start, start + size), weights.astype(np.float32)


def _cuts(positives: Floats) -> Floats:
    """At most `_MAX_CUTS` of the probabilities of true labels, ascending: all of them, or quantiles."""
    distinct = np.unique(positives)
    if len(distinct) <= _MAX_CUTS:
        return distinct
    return np.unique(np.quantile(positives, np.linspace(0, 1, _MAX_CUTS), method="lower"))


def _counts_above(labels: Labels, probabilities: Floats, cuts: Floats) -> tuple[npt.NDArray[np.intp], ...]:
    """Of each row the number of true labels, and of all, whose probability lies from each cut to the next one.

    Two arrays of shape (row, cut), the highest cut first; labels below the lowest cut are left out.
    """
    rows, bins = len(labels), len(cuts) + 1
    place = np.searchsorted(cuts, probabilities, side="right") + np.arange(rows)[:, None] * bins
    counts = (np.bincount(places, minlength=rows * bins) for places in (place[labels == 1], place.ravel()))
    of_true, of_all = (of_bin.reshape(rows, bins)[:, :0:-1] for of_bin in counts)
    return of_true, of_all


def _average_precision(of_true: Counts, of_all: Counts) -> Counts:
    """Average precision of each resample, shape (resample,), from the counts of `_counts_above`; 0 without labels."""
    right, positive = of_true.cumsum(axis=1), of_all.cumsum(axis=1)
    precision = right / np.maximum(positive, 1)
    average: Counts = (of_true * precision).sum(axis=1) / np.maximum(of_true.sum(axis=1), 1)
    return average
