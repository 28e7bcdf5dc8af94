"""A line about a run that trains, every few seconds; and TensorFlow's profile of some of its steps."""

import logging
import time
from datetime import timedelta
from typing import Any

import tensorflow as tf

from trainer.config import RunSettings
from trainer.data.sampler import DistributedSampler
from trainer.fit.checkpoint import TrainingState
from trainer.fit.observer import TrainingObserver

__all__ = ["ProgressLine", "StepProfiler"]

log = logging.getLogger(__name__)

_INTERVAL_S = 10.0


class ProgressLine(TrainingObserver):
    """Logs step, epoch, loss, patches per second, share of time spent waiting for data, and time left."""

    def __init__(self, settings: RunSettings, sampler: DistributedSampler) -> None:
        """Both of the run; rates are those of all workers."""
        super().__init__(settings)
        self._sampler = sampler

    def begin(self, state: TrainingState, network: dict[str, Any]) -> None:
        """Begin to measure."""
        self._state, self._total = state, self.settings.total_steps(self._sampler.steps_per_epoch)
        self._first = self._last = state.step
        self._start_s = self._logged_s = time.monotonic()

    def after_step(self) -> None:
        """Log the first step, the last one, and those between every few seconds."""
        now, state = time.monotonic(), self._state
        first = state.step == self._first + 1
        if not first and now - self._logged_s < _INTERVAL_S and state.step < self._total:
            return
        steps, sampler = range(self._last, state.step), self._sampler
        rows = sum(len(sampler.step_rows(step)) for step in steps)
        step_s, wait_s = (sum(values[self._last :]) for values in (state.step_s, state.wait_s))
        left = ""
        if first:
            self._start_s = now  # it compiled the graph, so it does not tell how long the others take
        elif state.step < self._total:
            left_s = (now - self._start_s) / (state.step - self._first - 1) * (self._total - state.step)
            left = f", {timedelta(seconds=round(left_s))} left"
        epoch, epochs = (state.step - 1) // sampler.steps_per_epoch + 1, -(-self._total // sampler.steps_per_epoch)
        log.info(
            "step %d of %d (epoch %d of %d): loss %.4f, %.0f patches/s, %.0f %% waiting for data%s",
            state.step, self._total, epoch, epochs, state.loss[-1], rows / step_s, 100 * wait_s / step_s, left,
        )  # fmt: skip
        self._last, self._logged_s = state.step, now


class StepProfiler(TrainingObserver):
    """Records some steps for TensorBoard's profiler, in the folder logs of the run; the first two compile graphs."""

    _SKIPPED = 2

    def begin(self, state: TrainingState, network: dict[str, Any]) -> None:
        """Count steps from here."""
        self._done, self._recording = 0, False

    def after_step(self) -> None:
        """Begin or end the record."""
        self._done += 1
        if self._done == self._SKIPPED:
            tf.profiler.experimental.start(str(self.settings.out / "logs"))
            self._recording = True
        elif self._done == self._SKIPPED + self.settings.profile:
            self.end()

    def end(self) -> None:
        """End the record, if the run is shorter."""
        if self._recording:
            tf.profiler.experimental.stop()
            self._recording = False
