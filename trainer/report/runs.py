"""Runs, read from their folders, also while they train. Any value may be missing: old records are read too."""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.report import paper
from trainer.report.json_values import as_list, as_mapping, as_number, at_path

__all__ = ["ClassScores", "RecordedRun", "Samples", "are_comparable", "open_runs", "open_samples"]

_AVERAGES = ("micro", "macro", "weighted")
_DRAWN = ("f1", "support")
ClassScores = Mapping[str, Mapping[str, Any]]
"""Scores by class name, each as in `metrics.LabelScores`."""

_RECORD, _SAMPLES, _EVALUATIONS = "run.json", "samples.npz", "evaluate.*.json"


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRun:
    """One run: its record, and properties that read it."""

    name: str
    """Short name, unique among the runs that were opened together."""

    folder: Path
    """The folder of the run."""

    record: Mapping[str, Any]
    """Content of run.json; "scores" includes the splits that `trainer.evaluate` scored later.

    "evaluations": content of its files evaluate.<split>.json, by split.
    "archives" lists what the stores of the training and of each evaluation say that their patches are of."""

    number: int = 0
    """Its number among the runs that were opened together, by which it has its colour in every figure."""

    @property
    def finished(self) -> bool:
        """Whether it has ended; False for a run that trains, or was stopped or killed."""
        return self.record.get("finished") is not False

    @property
    def settings(self) -> dict[str, str]:
        """Settings as text, by name."""
        return {key: str(value) for key, value in as_mapping(self.record.get("settings")).items()}

    @property
    def upsample(self) -> str:
        """Upsampling method of the store; "not known" if the record does not say."""
        return str(self.record.get("upsample") or "not known")

    @property
    def store(self) -> str:
        """Name of the store, and the archive that its patches are of if it says so; "not known" without a record."""
        name = self.settings.get("store", "").rstrip("/").rpartition("/")[2]
        archive = self.record.get("archive")
        return f"{name}, {archive}" if name and archive else name or "not known"

    @property
    def is_comparable(self) -> bool:
        """Whether every store that it read says that its patches and classes are those of the paper."""
        classes, archives = map(as_list, (self.record.get("classes"), self.record.get("archives")))
        return bool(archives) and all(paper.is_comparable(archive, list(map(str, classes))) for archive in archives)

    @property
    def workers(self) -> int | None:
        """Number of workers; None if the record does not say."""
        workers = as_number(self.record.get("workers"))
        return int(workers) if workers >= 1 else None

    @property
    def label(self) -> str:
        """Name, bands, workers, and whether it is unfinished."""
        count = {None: [], 1: ["1 worker"]}.get(self.workers, [f"{self.workers} workers"])
        unfinished = [] if self.finished else ["unfinished"]
        known = [*filter(None, [self.settings.get("bands")]), *count, *unfinished]
        return f"{self.name} ({', '.join(known)})" if known else self.name

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Loss of each step, dtype float64, shape (step,)."""
        return np.array([as_number(value) for value in as_list(self.record.get("loss"))], np.float64)

    def by_epoch(self, *path: str) -> list[tuple[int, float]]:
        """(epoch, value) of each epoch that has a number at `path`, such as "seconds" or "val", "micro", "f1"."""
        curve = []
        for number, record in enumerate(as_list(self.record.get("by_epoch")), 1):
            value, epoch = as_number(at_path(record, path)), at_path(record, ("epoch",))
            if not math.isnan(value):
                curve.append((number if math.isnan(as_number(epoch)) else int(as_number(epoch)), value))
        return curve

    @property
    def epoch_seconds(self) -> float | None:
        """Mean training seconds of a whole epoch.

        The first epoch is left out, because its first step compiles the graph, and so are those in which the run was
        resumed. If there is no other one, the seconds are computed from the steps after the first.
        """
        epochs, count = as_number(self.record.get("epochs")), as_number(self.record.get("steps"))
        steps_per_epoch = round(count / epochs) if epochs > 0 and 0 < count < 2**53 * epochs else None
        steps_by_epoch = dict(self.by_epoch("steps"))
        by_epoch = self.by_epoch("seconds")
        steps = [step for step in as_list(self.record.get("resumed_at")) if isinstance(step, int)]
        resumed = {step // (steps_per_epoch or 1) for step in steps}
        whole = [(epoch, s) for epoch, s in by_epoch if steps_by_epoch.get(epoch) in (None, steps_per_epoch)]
        steady = [s for epoch, s in whole[1:] if epoch not in resumed]
        if steady:
            return _positive(statistics.fmean(steady))
        step_s = [as_number(value) for value in as_list(self.record.get("seconds"))]
        if step_s and steps_per_epoch:
            return _positive(statistics.fmean(step_s[1:] or step_s) * steps_per_epoch)
        return _positive(whole[0][1]) if whole else None

    @property
    def total_seconds(self) -> float | None:
        """Time of all epochs in seconds, validation included; None if fewer were trained than the settings ask for."""
        asked, epochs = self.settings.get("epochs"), self.by_epoch("seconds")
        if not epochs or (asked is not None and asked != str(len(epochs))):
            return None
        return _positive(sum(value for _, value in (*epochs, *self.by_epoch("seconds_validating"))))

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that may have been scored: test, val, then others."""
        return tuple(dict.fromkeys(("test", "val", *as_mapping(self.record.get("scores")))))

    def scores(self, split: str, kind: str = "at_half") -> Mapping[str, Any] | None:
        """Scores on a split as `metrics.LabelScores`, or None; `kind` of threshold is "at_half" or "tuned".

        If the record has no scores of the best network on "val", those of the last validated epoch are returned.
        """
        scores = as_mapping(at_path(self.record, ("scores", split, kind)))
        if not scores and (split, kind) == ("val", "at_half"):
            epochs = [as_mapping(at_path(record, ("val",))) for record in as_list(self.record.get("by_epoch"))]
            scores = next((epoch for epoch in reversed(epochs) if epoch), {})
        return {**scores, **{name: as_mapping(scores[name]) for name in _AVERAGES if name in scores}} or None

    def class_scores(self, split: str) -> ClassScores:
        """Scores of each class on a split, threshold 0.5; empty if the run has not been scored on it."""
        classes = map(as_mapping, as_list((self.scores(split) or {}).get("classes")))
        numbers = ({**of_class, **{kind: as_number(of_class.get(kind)) for kind in _DRAWN}} for of_class in classes)
        return {
            str(of_class["name"]): of_class
            for of_class in numbers
            if "name" in of_class and not any(math.isnan(of_class[kind]) for kind in _DRAWN)
        }

    @property
    def versions(self) -> dict[str, str]:
        """Host, commit, threads and versions of packages as text, by name; only those that the record has."""
        known = {name: self.record[name] for name in ("host", "commit", "threads") if name in self.record}
        return {name: str(value) for name, value in (known | {**as_mapping(self.record.get("software"))}).items()}


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Some patches with their true labels and predictions; all fields but `classes` have one entry per patch."""

    rgb: npt.NDArray[np.uint8]
    """True colour, shape (patch, row, col, 3)."""

    patch: list[str]
    """Name of each patch."""

    labels: npt.NDArray[np.uint8]
    """(patch, class): 0 or 1."""

    probabilities: npt.NDArray[np.float32]
    """(patch, class), in [0, 1]."""

    classes: list[str]
    """Names of the classes."""

    loss: npt.NDArray[np.float64] | None = None
    """(patch,): cross-entropy; None in files of older versions."""

    single_label: bool = False
    """Whether each patch has exactly one class, so that the most probable one is predicted."""

    def __post_init__(self) -> None:
        patches, shape = len(self.patch), (len(self.patch), len(self.classes))
        if self.rgb.ndim != 4 or self.rgb.shape[::3] != (patches, 3) or self.rgb.dtype != np.uint8:
            raise ValueError(f"rgb must be uint8 ({patches}, row, col, 3), got {self.rgb.dtype} {self.rgb.shape}")
        for name in ("labels", "probabilities"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be (patch, class) {shape}, got {getattr(self, name).shape}")
        if self.loss is not None and self.loss.shape != (patches,):
            raise ValueError(f"loss must be (patch,) ({patches},), got {self.loss.shape}")


def open_runs(folders: Sequence[Path]) -> list[RecordedRun]:
    """The runs in these folders, in order.

    Raises:
        ValueError: a folder does not exist, has no run of the trainer, or is given twice.
    """
    paths = [folder.resolve() for folder in folders]
    for path, folder in zip(paths, folders, strict=True):
        if paths.count(path) > 1:
            raise ValueError(f"each run must be named once, got {folder} {paths.count(path)} times")
    records = [_record(folder) for folder in folders]
    named = zip(_unique_names(paths), folders, records, strict=True)
    return [RecordedRun(*run, number) for number, run in enumerate(named)]


def are_comparable(runs: Sequence[RecordedRun]) -> bool:
    """Whether the paper's figures can be drawn beside these runs: not if one of them is of other patches or classes."""
    return all(run.is_comparable for run in runs)


def open_samples(run: RecordedRun, worst: bool = False) -> Samples | None:
    """Pixels, labels and predictions of a run's sample patches, shapes as in `Samples`; None if it has none.

    `worst`: of the patches with the highest loss, which files of older versions do not have.

    Raises:
        ValueError: the file cannot be read, or its arrays have different numbers of patches or classes.
    """
    path, prefix = run.folder / _SAMPLES, "worst_" if worst else ""
    if not path.exists():
        return None
    try:
        with np.load(path) as file:  # without pickles: a run of someone else must not execute code
            if worst and "worst_rgb" not in file:
                return None
            classes = [str(name) for name in file["classes"]]
            single_label = "single_label" in file and bool(file["single_label"])
            names = ("rgb", "patch", "labels", "probabilities", *(["loss"] if prefix + "loss" in file else []))
            arrays = {name: file[prefix + name] for name in names}
        patch = [bytes(name).decode() if isinstance(name, bytes) else str(name) for name in arrays.pop("patch")]
        return Samples(**arrays, patch=patch, classes=classes, single_label=single_label)
    except Exception as error:  # a damaged archive raises errors of zipfile, zlib, struct or numpy
        raise ValueError(f"{path} must hold sample predictions of the trainer: {error}") from None


def _record(folder: Path) -> Mapping[str, Any]:
    path = folder / _RECORD
    if not path.is_file():
        state = f"has no {_RECORD}" if folder.is_dir() else "is a file" if folder.exists() else "is not there"
        raise ValueError(f"{folder} must be the folder of a run (--out of trainer.run); it {state}")
    record, evaluations = _read(path), list(map(_read, sorted(folder.glob(_EVALUATIONS))))
    by_split = {str(evaluation.get("split")): evaluation for evaluation in evaluations}
    evaluated = {split: evaluation.get("scores") for split, evaluation in by_split.items()}
    scores = {**as_mapping(record.get("scores")), **evaluated}
    archives = [one.get("archive") for one in (record, *evaluations)]
    return {**record, "scores": scores, "evaluations": by_split, "archives": archives}


def _read(path: Path) -> Mapping[str, Any]:
    """The JSON record at `path`, which a command of the trainer wrote."""
    try:
        record = json.loads(path.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        raise ValueError(f"{path} must be a JSON record of the trainer, and cannot be read: {error}") from None
    command = record.get("command") if isinstance(record, dict) else None
    if not str(command).startswith("trainer."):
        came = f"is of {command!r}" if command else "names no command"
        raise ValueError(f"{path} must be a record of the trainer; it {came}")
    return as_mapping(record)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that differ from each other: "a" and "b" for runs/a and runs/b."""
    for length in range(1, max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(paths):
            return names
    return [str(path) for path in paths]


def _positive(seconds: float) -> float | None:
    return seconds if seconds > 0 else None
