"""Runs that have ended, read from their folders. Each value may be absent: records of other versions are read too."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PastRun", "Samples", "open_runs", "open_samples"]

RECORD, SAMPLES, EVALUATIONS = "run.json", "samples.npz", "evaluate.*.json"


@dataclass(frozen=True, slots=True, eq=False)
class PastRun:
    """One run."""

    name: str
    """Short and its own among the runs that were opened together."""

    folder: Path
    """Where it lies."""

    record: Mapping[str, Any]
    """What `trainer.report.record` wrote; under "scores" also the splits that `trainer.evaluate` has scored since."""

    @property
    def settings(self) -> dict[str, str]:
        """Settings as text, by name."""
        return {key: str(value) for key, value in _mapping(self.record.get("settings")).items()}

    @property
    def upsample(self) -> str:
        """How the store's bands were brought to 10 m, "not known" where the record does not say."""
        return str(self.record.get("upsample") or "not known")

    @property
    def workers(self) -> int | None:
        """Number of workers."""
        found = self.record.get("workers")
        return found if isinstance(found, int) else None

    @property
    def label(self) -> str:
        """Name, bands and workers."""
        count = {None: [], 1: ["1 worker"]}.get(self.workers, [f"{self.workers} workers"])
        known = [*filter(None, [self.settings.get("bands")]), *count]
        return f"{self.name} ({', '.join(known)})" if known else self.name

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Loss of each step, shape (step,)."""
        return np.array([_number(value) for value in _listed(self.record.get("loss"))], np.float64)

    def by_epoch(self, *path: str) -> list[tuple[int, float]]:
        """(epoch, value) of a value of `by_epoch`, such as "val", "micro", "f1", where it is a number."""
        found = []
        for place, one in enumerate(_listed(self.record.get("by_epoch")), 1):
            value, epoch = _number(_inside(one, path)), _inside(one, ("epoch",))
            if not math.isnan(value):
                found.append((epoch if isinstance(epoch, int) else place, value))
        return found

    @property
    def epoch_seconds(self) -> float | None:
        """Mean seconds of training of a whole epoch; the first one or, of a single epoch, step traces the graph."""
        epochs, count = _number(self.record.get("epochs")), _number(self.record.get("steps"))
        epoch_steps = round(count / epochs) if epochs > 0 and count > 0 else None
        taken = dict(self.by_epoch("steps"))
        whole = [value for epoch, value in self.by_epoch("seconds") if taken.get(epoch) in (None, epoch_steps)]
        if len(whole) > 1:
            return statistics.fmean(whole[1:])
        steps = [_number(value) for value in _listed(self.record.get("seconds"))]
        if steps and epoch_steps:
            return statistics.fmean(steps[1:] or steps) * epoch_steps
        return whole[0] if whole else None

    @property
    def total_seconds(self) -> float | None:
        """Seconds of all epochs, validation included; None where fewer were trained than the settings say."""
        wanted, epochs = self.settings.get("epochs"), self.by_epoch("seconds")
        if not epochs or (wanted is not None and wanted != str(len(epochs))):
            return None
        return sum(value for _, value in (*epochs, *self.by_epoch("seconds_validating")))

    def scores(self, split: str, kind: str = "at_half") -> Mapping[str, Any] | None:
        """What `trainer.fit.metrics.scores` found on a split, "at_half" or "tuned"; the last epoch's for "val"."""
        found = _mapping(_inside(self.record, ("scores", split, kind)))
        if not found and (split, kind) == ("val", "at_half"):
            epochs = [_mapping(_inside(one, ("val",))) for one in _listed(self.record.get("by_epoch"))]
            found = next((one for one in reversed(epochs) if one), {})
        return found or None


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Some patches with what is true and what was predicted; one axis, patch, over all but `classes`."""

    rgb: npt.NDArray[np.uint8]
    """Colours, shape (patch, row, col, 3)."""

    patch: list[str]
    """Names."""

    labels: npt.NDArray[np.uint8]
    """(patch, class): 0 or 1."""

    probabilities: npt.NDArray[np.float32]
    """(patch, class), in [0, 1]."""

    classes: list[str]
    """Names of the classes."""

    def __post_init__(self) -> None:
        shape = (len(self.patch), len(self.classes))
        if self.rgb.ndim != 4 or self.rgb.shape[::3] != (len(self.patch), 3) or self.rgb.dtype != np.uint8:
            raise ValueError(
                f"rgb must be uint8 ({len(self.patch)}, row, col, 3), got {self.rgb.dtype} {self.rgb.shape}"
            )
        for name in ("labels", "probabilities"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be (patch, class) {shape}, got {getattr(self, name).shape}")


def open_runs(folders: Sequence[Path]) -> list[PastRun]:
    """The runs of these folders, in order.

    Raises:
        ValueError: a folder is not there, holds no run of the trainer, or is named twice.
    """
    places = [folder.resolve() for folder in folders]
    for place, folder in zip(places, folders, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"each run must be named once, got {folder} {places.count(place)} times")
    records = [_record(folder) for folder in folders]
    return [PastRun(*one) for one in zip(_names(places), folders, records, strict=True)]


def open_samples(run: PastRun) -> Samples | None:
    """The sample predictions of a run, None where it left none.

    Raises:
        ValueError: they cannot be read, or their arrays do not fit together.
    """
    path = run.folder / SAMPLES
    if not path.exists():
        return None
    try:
        with np.load(path) as held:
            found = {name: held[name] for name in Samples.__dataclass_fields__}
        patch = [bytes(name).decode() if isinstance(name, bytes) else str(name) for name in found.pop("patch")]
        return Samples(**found | {"patch": patch, "classes": [str(name) for name in found["classes"]]})
    except Exception as error:  # a damaged archive raises of many kinds: zipfile's, zlib's, struct's, numpy's
        raise ValueError(f"{path} must hold sample predictions of the trainer: {error}") from None


def _record(folder: Path) -> Mapping[str, Any]:
    path = folder / RECORD
    if not path.is_file():
        state = f"has no {RECORD}" if folder.is_dir() else "is a file" if folder.exists() else "is not there"
        raise ValueError(f"{folder} must be the folder of a run (--out of trainer.run); it {state}")
    record = _read(path)
    evaluated = {str(one.get("split")): one.get("scores") for one in map(_read, sorted(folder.glob(EVALUATIONS)))}
    return {**record, "scores": {**_mapping(record.get("scores")), **evaluated}}


def _read(path: Path) -> Mapping[str, Any]:
    """What a command of the trainer wrote."""
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} must be a JSON record of the trainer, and cannot be read: {error}") from None
    command = found.get("command") if isinstance(found, dict) else None
    if not str(command).startswith("trainer."):
        came = f"is of {command!r}" if command else "names no command"
        raise ValueError(f"{path} must be a record of the trainer; it {came}")
    return _mapping(found)


def _names(places: Sequence[Path]) -> list[str]:
    """The shortest ends of these different paths that are different."""
    for length in range(1, max(len(place.parts) for place in places)):
        names = ["/".join(place.parts[-length:]) for place in places]
        if len(set(names)) == len(places):
            return names
    return [str(place) for place in places]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _inside(value: Any, path: Sequence[str]) -> Any:
    for key in path:
        value = _mapping(value).get(key)
    return value


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
