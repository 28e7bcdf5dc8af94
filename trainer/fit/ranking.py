"""Scores of the order in which each row's probabilities put its classes; thresholds play no part."""

import numpy as np
import numpy.typing as npt

__all__ = ["ranking_scores"]


def ranking_scores(labels: npt.NDArray[np.uint8], probabilities: npt.NDArray[np.float32]) -> dict[str, float]:
    """Means over the rows, by name; `labels` 0 or 1 and `probabilities` of shape (row, class).

    - "ranking_loss", in [0, 1]: share of the pairs of a class that the row has and one that it has not, in which the
      second is at least as probable; 0 for a row with all classes or none.
    - "coverage_error": number of the most probable classes that contain all that the row has, ties included; 0 for a
      row without any. At best it is the mean number of labels.
    - "one_error", in [0, 1]: 1 for a row that lacks its most probable class, of equals the first one; else 0.

    Source: Schapire and Singer 2000, Machine Learning 39, 135-168, whose coverage is less by 1; ties, and rows without
    labels, as in scikit-learn's label_ranking_loss and coverage_error.
    """
    from scipy.stats import rankdata

    has = labels == 1
    rank = rankdata(-probabilities, "max", axis=1)  # number of classes that are at least as probable
    rank_among_own = rankdata(np.where(has, -probabilities, np.inf), "max", axis=1)
    own = has.sum(axis=1)
    pairs = own * (labels.shape[1] - own)
    wrong = ((rank - rank_among_own) * has).sum(axis=1)
    return {
        "ranking_loss": float((wrong / np.maximum(pairs, 1)).mean()),
        "coverage_error": float((rank * has).max(axis=1).mean()),
        "one_error": float((~np.take_along_axis(has, probabilities.argmax(axis=1)[:, None], axis=1)).mean()),
    }
