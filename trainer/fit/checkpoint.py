"""A run's state on disk: one file, replaced as a whole, by worker 0 alone.

It holds every variable of the model and of the optimiser in order and, as JSON, the settings that the run was begun
with, how far it is, and what it has seen. The names inside ("said", "begun_with") are the file format: old
checkpoints must load.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from etl.files import replace_atomically
from trainer.data.sampler import DistributedSampler

if TYPE_CHECKING:
    import keras

__all__ = ["BEST", "LAST", "Checkpoint", "TrainingState", "restore_checkpoint", "restore_variables", "run_fingerprint"]

LAST, BEST = "checkpoint.npz", "best.npz"
"""File names in a run's folder."""


@dataclass(slots=True)
class TrainingState:
    """How far a run is and what it has seen. The field names are keys of the checkpoint file."""

    step: int = 0
    """Steps that are done."""

    loss: list[float] = field(default_factory=list)
    """Mean loss over the rows of each step, of all workers."""

    step_s: list[float] = field(default_factory=list)
    """Seconds of each step on worker 0, waiting included."""

    wait_s: list[float] = field(default_factory=list)
    """Seconds of each step that it waited for its batch."""

    by_epoch: list[dict[str, Any]] = field(default_factory=list)
    """One record for each epoch that has ended, or was cut off by the end of the run."""

    best: float = -1.0
    """Largest micro-F1 on val so far."""

    since_best: int = 0
    """Validations since then."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What one file holds."""

    fingerprint: dict[str, Any]
    """What decides the course of the run, see `run_fingerprint`; "begun_with" in the file."""

    state: TrainingState
    """How far it was."""

    arrays: list[npt.NDArray[Any]]
    """Variables in order: the model's, then the optimiser's, each in its own shape and dtype."""

    def save(self, path: Path) -> None:
        """Write the file, complete or not at all; every array keeps its shape and dtype."""
        state = {name: getattr(self.state, name) for name in TrainingState.__slots__}
        text = json.dumps({"begun_with": self.fingerprint, "state": state})
        arrays: dict[str, Any] = {f"v{k:04d}": array for k, array in enumerate(self.arrays)}
        with replace_atomically(path) as part, part.open("wb") as file:
            np.savez(file, **arrays, said=np.frombuffer(text.encode(), np.uint8))

    @classmethod
    def load(cls, path: Path) -> "Checkpoint":
        """What a file holds.

        Raises:
            ValueError: it is not there or is no checkpoint.
        """
        try:
            with np.load(path) as file:  # without pickles: a checkpoint is data, never code
                record = json.loads(file["said"].tobytes())
                arrays = [file[name] for name in sorted(file.files) if name != "said"]
                return cls(record["begun_with"], TrainingState(**record["state"]), arrays)
        except FileNotFoundError:
            raise ValueError(f"{path} is not there; make it with trainer.run, or name another run") from None
        except Exception as error:  # numpy and zipfile raise half a dozen kinds on a broken file
            raise ValueError(f"{path} must be a checkpoint of trainer.run: {error!r}") from None


def run_fingerprint(
    settings: Mapping[str, Any], sampler: DistributedSampler, network: Mapping[str, Any]
) -> dict[str, Any]:
    """What must be the same to resume a run; its length and where things lie may change.

    `network`: inputs, bands, classes and their normalisation, from which the model can be built again.
    """
    free = {"out", "store", "resume", "dry_run", "threads", "patience", "validate_every", "stall"}
    free |= {"epochs", "steps"} if settings["decay"] != "polynomial" else set()  # whose rate depends on the length
    fixed = {key: str(value) for key, value in settings.items() if key not in free}
    return {"settings": fixed, "workers": sampler.size, "rows": sampler.rows, "network": network}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two fingerprints, in words; a value longer than a line only by its name."""
    texts = []
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            texts += _differences(old, new)
        elif old != new:
            text = f"{key} was {old}, is {new}"
            texts.append(text if len(text) < 80 else f"{key} was another")
    return texts


def restore_variables(path: Path, arrays: Sequence[npt.NDArray[Any]], variables: "Sequence[keras.Variable]") -> None:
    """Assign the arrays of the checkpoint at `path` to `variables`, in order.

    Raises:
        ValueError: their shapes are those of another model; names the first that differs.
    """
    shapes, expected = [tuple(a.shape) for a in arrays], [tuple(v.shape) for v in variables]
    if shapes != expected:
        where = next((k for k, (a, b) in enumerate(zip(shapes, expected, strict=False)) if a != b), None)
        stored = f"{len(shapes)} variables" if where is None else f"shape {shapes[where]}"
        wanted = f"{len(expected)}" if where is None else f"{expected[where]} of {variables[where].path}"
        raise ValueError(f"{path} is of another model: it holds {stored}, this one has {wanted}")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def restore_checkpoint(
    path: Path, variables: "Sequence[keras.Variable]", fingerprint: Mapping[str, Any] | None = None
) -> TrainingState | None:
    """State of the run in a file, whose arrays are assigned to `variables` in order and shape; None without a file.

    To resume a run, `variables` are those of model and optimiser, and its `fingerprint` is compared; without one the
    first arrays alone are restored, those of the model.

    Raises:
        ValueError: the run was begun with another fingerprint.
    """
    if not path.exists():
        return None
    checkpoint = Checkpoint.load(path)
    arrays = checkpoint.arrays
    if fingerprint is None:
        arrays = arrays[: len(variables)]
    elif differing := _differences(checkpoint.fingerprint, fingerprint):
        raise ValueError(f"{path} can only be resumed with what it was begun with: {'; '.join(differing)}")
    restore_variables(path, arrays, variables)
    return checkpoint.state
