"""Scores on the split val: after an epoch, and of the best network after training."""

import logging
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trainer.data.selection import SelectedRows
from trainer.fit.checkpoint import TrainingState
from trainer.fit.metrics import DEFAULT_THRESHOLD, LabelScores, score_predictions, scores_line, tuned_thresholds
from trainer.fit.predictions import Predictor, predict_rows, scores_by_threshold
from trainer.workers.horovod import Workers

__all__ = ["Validation"]

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Validation:
    """Scores a network on the split val."""

    rows: SelectedRows
    predict: Predictor
    state: TrainingState
    workers: Workers
    batch: int
    """Rows per worker and batch."""
    every: int
    """Epochs between two validations."""
    _scored: dict[int, npt.NDArray[np.float32]] = field(default_factory=dict)
    """Predictions when the network was last scored, shape (row, class), by the number of steps done then."""

    def after_epoch(self, epoch: int) -> LabelScores | None:
        """Collective: scores at the default threshold; None in an epoch without validation."""
        if (epoch + 1) % self.every:
            return None
        probabilities = self._predict()
        self._scored = {self.state.step: probabilities}
        scores = score_predictions(self.rows.labels, probabilities, DEFAULT_THRESHOLD, self.rows.classes)
        log.info("epoch %d, val: %s", epoch, scores_line(scores))
        return scores

    def score_best(self, step: int) -> dict[str, LabelScores]:
        """Collective: scores, at the default and at tuned thresholds, of the best network.

        The network must have its weights of after `step`. The tuned thresholds, shape (class,), are those that
        `trainer.evaluate` uses.
        """
        # If that step was the last one scored, predicting again would give the same probabilities.
        probabilities = self._scored[step] if step in self._scored else self._predict()
        return scores_by_threshold(self.rows, probabilities, tuned_thresholds(self.rows.labels, probabilities))

    def _predict(self) -> npt.NDArray[np.float32]:
        return predict_rows(self.predict, self.rows, self.batch, self.workers)
