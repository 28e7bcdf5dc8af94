"""Write a run's record and its log for TensorBoard while it trains."""

import logging
from typing import Any

import numpy as np

from trainer.config import RunSettings
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import SelectedRows
from trainer.data.true_colour import true_colour
from trainer.fit.checkpoint import TrainingState
from trainer.fit.observer import TrainingObserver
from trainer.report.event_log import EventLog
from trainer.report.record import training_record, write_record

__all__ = ["RunRecorder"]

log = logging.getLogger(__name__)

_PICTURES = 6
"""Training patches that TensorBoard shows."""


class RunRecorder(TrainingObserver):
    """Replaces run.json with each checkpoint, logs scalars every few seconds and, at the start, some patches."""

    def __init__(self, settings: RunSettings, sampler: DistributedSampler, rows: SelectedRows) -> None:
        """All of the run, whose folder is `settings.out`; `rows`: those it is trained on. It writes nothing yet."""
        super().__init__(settings)
        self._sampler, self._rows = sampler, rows

    def begin(self, state: TrainingState, network: dict[str, Any]) -> None:
        """Write both for a run that begins, or is resumed, with `state`; of a run with no step left, only the log."""
        self._state, self._network = state, network
        self._log = EventLog(self.settings.out / "logs", state)
        shown = self._rows.store_rows[np.linspace(0, len(self._rows) - 1, min(_PICTURES, len(self._rows))).astype(int)]
        try:
            pictures = true_colour(self._rows.reader, np.unique(shown))
        except (ValueError, OSError) as error:  # the training may not need these pixels
            log.warning("no pictures of training patches: %s", error)
            pictures = None
        if pictures is not None:
            self._log.add_images("training patches", pictures)
        if state.step < self.settings.total_steps(self._sampler.steps_per_epoch):
            self._write_record()

    def after_step(self) -> None:
        """Log the last step."""
        self._log.add_step()

    def after_checkpoint(self) -> None:
        """Log new epochs, and replace run.json."""
        self._log.add_epochs()
        self._write_record()

    def _write_record(self) -> None:
        record = training_record(self.settings, self._sampler, self._state, self._network, self._rows.archive)
        write_record(self.settings.out / "run.json", record)
