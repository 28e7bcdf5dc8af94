"""What follows a training on worker 0: records, logs, and classes of users."""

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer.config import RunSettings
from trainer.fit.checkpoint import TrainingState

__all__ = ["JsonLines", "Observers", "TrainingObserver", "observer_class"]


class TrainingObserver:
    """Follows a training on worker 0; its methods do nothing, override those that you need.

    An error that a method raises ends the training of all workers.
    """

    def __init__(self, settings: RunSettings) -> None:
        """`settings`: of the run, whose folder is `settings.out`."""
        self.settings = settings

    def begin(self, state: TrainingState, network: dict[str, Any]) -> None:
        """Called before the first step; `state` changes later, see `trained_network.describe_network` for `network`."""

    def after_step(self) -> None:
        """Called when a step is in the state."""

    def after_checkpoint(self) -> None:
        """Called when a checkpoint is saved, as at the end of each epoch."""

    def end(self) -> None:
        """Called after the last step, or when a signal has stopped the run."""


class Observers(TrainingObserver):
    """Several as one, called in their order."""

    def __init__(self, settings: RunSettings, observers: Sequence[TrainingObserver]) -> None:
        super().__init__(settings)
        self._observers = tuple(observers)

    def begin(self, state: TrainingState, network: dict[str, Any]) -> None:
        """Call those of all."""
        for observer in self._observers:
            observer.begin(state, network)

    def after_step(self) -> None:
        """Call those of all."""
        for observer in self._observers:
            observer.after_step()

    def after_checkpoint(self) -> None:
        """Call those of all."""
        for observer in self._observers:
            observer.after_checkpoint()

    def end(self) -> None:
        """Call those of all."""
        for observer in self._observers:
            observer.end()


class JsonLines(TrainingObserver):
    """An example: `--callback trainer.fit.observer:JsonLines` adds a line for each epoch to epochs.jsonl."""

    def begin(self, state: TrainingState, network: dict[str, Any]) -> None:
        """Keep the state, and count the epochs that earlier parts of the run have written."""
        self._state, self._path = state, Path(self.settings.out) / "epochs.jsonl"
        self._written = {(record["epoch"], record["steps"]) for record in state.by_epoch}

    def after_checkpoint(self) -> None:
        """Write the epochs that have ended since."""
        with self._path.open("a", encoding="utf-8") as file:
            for record in self._state.by_epoch:
                key = record["epoch"], record["steps"]  # an epoch that was cut off is recorded again as a whole
                if key not in self._written:
                    self._written.add(key)
                    file.write(json.dumps(record) + "\n")


def observer_class(settings: RunSettings) -> type[TrainingObserver]:
    """The class that `settings.callback` names; worker 0 makes one of it with `settings`.

    Raises:
        ValueError: there is no such module or class, or the class is not a `TrainingObserver`.
    """
    module, _, name = settings.callback.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"--callback must name a class that can be imported, got {settings.callback}: {error}"
        ) from None
    if not (isinstance(kind, type) and issubclass(kind, TrainingObserver)):
        raise ValueError(
            f"--callback must name a subclass of {TrainingObserver.__module__}.TrainingObserver, got {kind}"
        )
    return kind
