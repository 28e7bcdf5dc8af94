"""Scores on the split val: after an epoch, and of the best network once training has ended."""

import logging
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trainer.data.selection import SelectedRows
from trainer.fit.checkpoint import TrainingState
from trainer.fit.metrics import DEFAULT_THRESHOLD, LabelScores, scores, scores_line, tuned_thresholds
from trainer.fit.predictions import Predictor, predict_rows, scores_by_threshold
from trainer.workers.horovod import Workers

__all__ = ["Validation"]

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Validation:
    """The split val and the network that is scored on it."""

    rows: SelectedRows
    predict: Predictor
    state: TrainingState
    workers: Workers
    batch: int
    """Rows that each worker takes at a time."""
    every: int
    """Epochs from one validation to the next."""
    _step: int = -1
    """Step after which the network was last scored."""
    _probabilities: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    """What it predicted then, shape (row, class)."""

    def after_epoch(self, epoch: int) -> LabelScores | None:
        """Collective: scores at the default threshold, None in an epoch without validation."""
        if (epoch + 1) % self.every:
            return None
        self._step, self._probabilities = self.state.step, self._predict()
        scored = scores(self.rows.labels, self._probabilities, DEFAULT_THRESHOLD, self.rows.classes)
        log.info("epoch %d, val: %s", epoch, scores_line(scored))
        return scored

    def of_best(self, step: int) -> dict[str, LabelScores]:
        """Collective: scores of the network as it was after `step`, whose weights it has now, also at tuned thresholds.

        The tuned thresholds, shape (class,), are those that `trainer.evaluate` uses.
        """
        # Predicting again would give the same numbers: the last validation often was of the best network.
        probabilities = self._probabilities if step == self._step else self._predict()
        return scores_by_threshold(self.rows, probabilities, tuned_thresholds(self.rows.labels, probabilities))

    def _predict(self) -> npt.NDArray[np.float32]:
        return predict_rows(self.predict, self.rows, self.batch, self.workers)
