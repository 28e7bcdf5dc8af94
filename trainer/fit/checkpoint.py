"""A run's state on disk: one file, written by worker 0 and replaced as a whole.

It holds every variable of the model and of the optimiser in order and, as JSON, the fingerprint of the run's settings
and its progress. The names inside ("said", "begun_with") are the file format: old checkpoints must load.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from etl.files import replace_atomically
from trainer.config import RunSettings
from trainer.data.sampler import DistributedSampler

if TYPE_CHECKING:
    import keras

__all__ = ["BEST", "LAST", "Checkpoint", "TrainingState", "checkpoint_to_resume", "run_fingerprint"]

LAST, BEST = "checkpoint.npz", "best.npz"
"""File names in a run's folder: the latest state, and the one with the best score on val, see `--best-by`."""


@dataclass(slots=True)
class TrainingState:
    """Progress of a run, as worker 0 records it. The field names are keys of the checkpoint file."""

    step: int = 0
    """Number of steps done."""

    loss: list[float] = field(default_factory=list)
    """Mean loss of each step, over the rows of all workers."""

    step_s: list[float] = field(default_factory=list)
    """Seconds of each step on worker 0, waiting for its batch included."""

    wait_s: list[float] = field(default_factory=list)
    """Seconds of each step that worker 0 waited for its batch."""

    by_epoch: list[dict[str, Any]] = field(default_factory=list)
    """One record for each epoch that has ended, or was cut off by the end of the run."""

    best: float = -1.0
    """Best score on val so far, see `metrics.best_score`; -1 before the first validation."""

    since_best: int = 0
    """Validations since `best` was reached."""

    seconds: float = 0.0
    """Seconds of training in all parts of the run, validation included."""

    resumed_at: list[int] = field(default_factory=list)
    """Steps at which the run was resumed, ascending."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Content of a checkpoint file."""

    fingerprint: dict[str, Any]
    """Settings that decide the weights, see `run_fingerprint`; "begun_with" in the file."""

    state: TrainingState
    """Progress of the run."""

    arrays: list[npt.NDArray[Any]]
    """Variables in order: the model's, then the optimiser's, each in its own shape and dtype."""

    def save(self, path: Path) -> None:
        """Write the file atomically; every array keeps its shape and dtype."""
        state = {name: getattr(self.state, name) for name in TrainingState.__slots__}
        text = json.dumps({"begun_with": self.fingerprint, "state": state})
        arrays: dict[str, Any] = {f"v{k:04d}": array for k, array in enumerate(self.arrays)}
        with replace_atomically(path) as part, part.open("wb") as file:
            np.savez(file, **arrays, said=np.frombuffer(text.encode(), np.uint8))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """The checkpoint in a file.

        Raises:
            ValueError: there is no such file, or it is not a checkpoint.
        """
        try:
            with np.load(path) as file:  # without pickles: a checkpoint is data, never code
                record = json.loads(file["said"].tobytes())
                arrays = [file[name] for name in sorted(file.files) if name != "said"]
                return cls(record["begun_with"], _training_state(record["state"]), arrays)
        except FileNotFoundError:
            raise ValueError(f"{path} is not there; make it with trainer.run, or name another run") from None
        except Exception as error:  # numpy and zipfile raise half a dozen kinds on a broken file
            raise ValueError(f"{path} must be a checkpoint of trainer.run: {error!r}") from None

    def restore_run(self, path: Path, variables: "Sequence[keras.Variable]") -> TrainingState:
        """Assign the arrays to the variables of model and optimiser, in the order of the file; returns the state.

        `path`: the checkpoint's file, to be named in errors.

        Raises:
            ValueError: the shapes of the arrays are not those of the variables.
        """
        _restore_variables(path, self.arrays, variables)
        return self.state

    def restore_model(self, path: Path, model: "keras.Model") -> TrainingState:
        """Assign the first arrays, which are the model's, to its variables; returns the state.

        `path`: the checkpoint's file, to be named in errors.

        Raises:
            ValueError: the shapes of the arrays are not those of the model.
        """
        _restore_variables(path, self.arrays[: len(model.variables)], model.variables)
        return self.state


def _training_state(record: Mapping[str, Any]) -> TrainingState:
    """The state in a checkpoint; an old one does not say how long the training took, but its steps do."""
    state = TrainingState(**record)
    if "seconds" not in record:
        state.seconds = sum(state.step_s) + sum(epoch.get("seconds_validating", 0.0) for epoch in state.by_epoch)
    return state


def run_fingerprint(
    settings: Mapping[str, Any], sampler: DistributedSampler, network: Mapping[str, Any]
) -> dict[str, Any]:
    """What must be the same to resume a run: settings, except its length, paths and others that do not decide weights.

    `network`: bands, normalisation and classes, from which the model can be built again.
    """
    may_change = {"out", "store", "resume", "dry_run", "threads", "patience", "validate_every", "stall"}
    may_change |= {"profile", "callback", "start_from"}
    if settings["decay"] not in ("polynomial", "cosine"):  # their rates depend on the length of the run
        may_change |= {"epochs", "steps"}
    fixed = {key: str(value) for key, value in settings.items() if key not in may_change}
    return {"settings": fixed, "workers": sampler.size, "rows": sampler.rows, "network": network}


def _with_defaults(settings: Mapping[str, str], now: Mapping[str, Any]) -> dict[str, str]:
    """Settings of an old checkpoint with those that did not exist then, which had the effect of today's defaults."""
    defaults = {item.name: str(item.default) for item in fields(RunSettings)}
    return {**{name: defaults[name] for name in now["settings"] if name not in settings}, **settings}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, in words; of a long value only its name."""
    texts = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            texts += _differences(old, new)
        elif old != new:
            text = f"{key} was {old}, is {new}"
            texts.append(text if len(text) < 80 else f"{key} was another")
    return texts


def _restore_variables(path: Path, arrays: Sequence[npt.NDArray[Any]], variables: "Sequence[keras.Variable]") -> None:
    """Assign the arrays of the checkpoint at `path` to `variables`, in order.

    Raises:
        ValueError: the shapes are those of another model; the message names the first that differs.
    """
    shapes, expected = [tuple(a.shape) for a in arrays], [tuple(v.shape) for v in variables]
    if shapes != expected:
        first = next((k for k, (a, b) in enumerate(zip(shapes, expected, strict=False)) if a != b), None)
        stored = f"{len(shapes)} variables" if first is None else f"shape {shapes[first]}"
        wanted = f"{len(expected)}" if first is None else f"{expected[first]} of {variables[first].path}"
        raise ValueError(f"{path} is of another model: it holds {stored}, this one has {wanted}")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def checkpoint_to_resume(path: Path, fingerprint: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint in the file at `path`, to go on from; None without a file.

    Raises:
        ValueError: the run has another fingerprint; the message names what differs.
    """
    if not path.exists():
        return None
    checkpoint = Checkpoint.load(path)
    before = {**checkpoint.fingerprint, "settings": _with_defaults(checkpoint.fingerprint["settings"], fingerprint)}
    if differing := _differences(before, fingerprint):
        needed = "--resume needs the settings, workers and training rows of the first run"
        raise ValueError(f"{needed}; of {path} these differ: {'; '.join(differing)}")
    return checkpoint
