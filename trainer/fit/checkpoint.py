"""A run's state on disk: one file, replaced as a whole, by worker 0 alone.

It holds every variable of the model and of the optimiser in order, and as JSON what the run was begun with, how far it
is, and what it has seen.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.sampler import Deal

__all__ = ["BEST", "LAST", "Checkpoint", "State", "begun_with", "differences", "load", "restore", "save"]

LAST, BEST = "checkpoint.npz", "best.npz"
"""File names in a run's folder."""


@dataclass(slots=True)
class State:
    """How far a run is and what it has seen."""

    step: int = 0
    """Steps that are done."""

    loss: list[float] = field(default_factory=list)
    """Mean loss over the rows of each step, of all workers."""

    step_s: list[float] = field(default_factory=list)
    """Seconds of each step on worker 0, waiting included."""

    wait_s: list[float] = field(default_factory=list)
    """Seconds of it that it waited for its batch."""

    by_epoch: list[dict[str, Any]] = field(default_factory=list)
    """One record an epoch that has ended, or was cut off by the end of the run."""

    best: float = -1.0
    """Largest micro-F1 on val so far."""

    since_best: int = 0
    """Validations since then."""


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What one file holds."""

    begun_with: dict[str, Any]
    """What decides the course of the run."""

    state: State
    """How far it was."""

    arrays: list[npt.NDArray[Any]]
    """Variables in order: the model's, then the optimiser's."""


def begun_with(settings: dict[str, Any], deal: Deal, network: dict[str, Any]) -> dict[str, Any]:
    """What must be the same to go on; the length of the run and where things lie may change.

    `network`: what building the model again needs: inputs, bands, classes, their normalisation.
    """
    free = {"out", "store", "resume", "dry_run", "threads", "patience", "validate_every", "stall"}
    free |= {"epochs", "steps"} if settings["decay"] != "polynomial" else set()  # whose rate depends on the length
    kept = {key: str(value) for key, value in settings.items() if key not in free}
    return {"settings": kept, "workers": deal.size, "rows": deal.rows, "network": network}


def differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two results of `begun_with`, in words; what is longer than a line only by name."""
    found = []
    for key in {**was, **now}:
        before, after = was.get(key), now.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += differences(before, after)
        elif before != after:
            said = f"{key} was {before}, is {after}"
            found.append(said if len(said) < 80 else f"{key} was another")
    return found


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file, whole or not at all."""
    part = path.with_name(path.name + ".part")
    state = {name: getattr(checkpoint.state, name) for name in State.__slots__}
    said = json.dumps({"begun_with": checkpoint.begun_with, "state": state})
    with part.open("wb") as file:
        arrays: dict[str, Any] = {f"v{k:04d}": array for k, array in enumerate(checkpoint.arrays)}
        np.savez(file, **arrays, said=np.frombuffer(said.encode(), np.uint8))
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def load(path: Path) -> Checkpoint:
    """What a file holds.

    Raises:
        ValueError: it is not there or is no checkpoint.
    """
    try:
        with np.load(path) as found:
            said = json.loads(found["said"].tobytes())
            arrays = [found[name] for name in sorted(found.files) if name != "said"]
            return Checkpoint(said["begun_with"], State(**said["state"]), arrays)
    except FileNotFoundError:
        raise ValueError(f"{path} is not there; make it with trainer.run, or name another run") from None
    except Exception as error:  # numpy and zipfile raise half a dozen kinds on a broken file
        raise ValueError(f"{path} must be a checkpoint of trainer.run: {error!r}") from None


def restore(path: Path, arrays: Sequence[npt.NDArray[Any]], variables: Sequence[Any]) -> None:
    """Give `variables` the values of a checkpoint.

    Raises:
        ValueError: they are of another model; names the first that differs.
    """
    shapes, wanted = [tuple(a.shape) for a in arrays], [tuple(v.shape) for v in variables]
    if shapes != wanted:
        where = next((k for k, (a, b) in enumerate(zip(shapes, wanted, strict=False)) if a != b), None)
        differing = f"{len(shapes)} variables" if where is None else f"shape {shapes[where]}"
        asked = f"{len(wanted)}" if where is None else f"{wanted[where]} of {variables[where].path}"
        raise ValueError(f"{path} is of another model: it holds {differing}, this one has {asked}")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
