"""Scores on the split val: after an epoch, and of the best network after training."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from trainer.data.selection import SelectedRows
from trainer.fit import metrics
from trainer.fit.checkpoint import TrainingState
from trainer.fit.predictions import scores_by_threshold

__all__ = ["Validation"]

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Validation:
    """Scores a network on the split val."""

    rows: SelectedRows
    """The labelled rows of the split."""
    predict: Callable[[], metrics.Floats]
    """Collective: probability of each class on each of `rows`, float32, shape (row, class)."""
    state: TrainingState
    every: int
    """Epochs between two validations."""
    _scored: dict[int, metrics.Floats] = field(default_factory=dict)
    """Predictions when the network was last scored, shape (row, class), by the number of steps done then."""

    def after_epoch(self, epoch: int) -> metrics.LabelScores | None:
        """Collective: scores at the default threshold; None in an epoch without validation."""
        if (epoch + 1) % self.every:
            return None
        rows, probabilities = self.rows, self.predict()
        self._scored = {self.state.step: probabilities}
        scores = metrics.score_predictions(
            rows.labels, probabilities, metrics.DEFAULT_THRESHOLD, rows.classes, rows.single_label
        )
        log.info("epoch %d, val: %s", epoch, metrics.scores_line(scores))
        return scores

    def score_best(self, step: int) -> dict[str, metrics.LabelScores]:
        """Collective: scores, at the default and at tuned thresholds, of the best network.

        The network must have its weights of after `step`. The tuned thresholds, shape (class,), are those that
        `trainer.evaluate` uses.
        """
        # If that step was the last one scored, predicting again would give the same probabilities.
        probabilities = self._scored[step] if step in self._scored else self.predict()
        rows, labels = self.rows, self.rows.labels
        if rows.single_label:  # the most probable class counts
            return scores_by_threshold(rows, probabilities, np.full(labels.shape[1], metrics.DEFAULT_THRESHOLD, "f4"))
        few = int((labels.sum(axis=0, dtype=int) < metrics.LEAST_POSITIVES).sum())
        if few:
            text = "thresholds of %d of %d classes stay %.1f: fewer than %d rows of split val have each of them"
            log.info(text, few, labels.shape[1], metrics.DEFAULT_THRESHOLD, metrics.LEAST_POSITIVES)
        return scores_by_threshold(rows, probabilities, metrics.tuned_thresholds(labels, probabilities))
