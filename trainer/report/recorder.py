"""Write a run's record and its log for TensorBoard while it trains."""

from typing import Any

from trainer.config import RunSettings
from trainer.data.sampler import DistributedSampler
from trainer.fit.checkpoint import TrainingState
from trainer.fit.observer import TrainingObserver
from trainer.report.event_log import EventLog
from trainer.report.record import training_record, write_record

__all__ = ["RunRecorder"]


class RunRecorder(TrainingObserver):
    """Replaces run.json with each checkpoint, and logs scalars every few seconds."""

    def __init__(self, settings: RunSettings, sampler: DistributedSampler, archive: str) -> None:
        """All of the run, whose folder is `settings.out`; `archive`: see `SelectedRows`. It writes nothing yet."""
        super().__init__(settings)
        self._sampler, self._archive = sampler, archive

    def begin(self, state: TrainingState, network: dict[str, Any]) -> None:
        """Write both for a run that begins, or is resumed, with `state`; of a run with no step left, only the log."""
        self._state, self._network = state, network
        self._log = EventLog(self.settings.out / "logs", state)
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
        record = training_record(self.settings, self._sampler, self._state, self._network, self._archive)
        write_record(self.settings.out / "run.json", record)
