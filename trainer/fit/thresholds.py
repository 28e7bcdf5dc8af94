"""The thresholds that a run tuned on val at its end."""

import json
from pathlib import Path

import numpy as np

from etl.exit_status import ExitStatus, JobError
from trainer.fit.metrics import DEFAULT_THRESHOLD, Floats

__all__ = ["read_thresholds"]


def read_thresholds(run: Path, classes: int) -> Floats:
    """Thresholds tuned on val at the end of the run, float32, shape (class,); default ones if it was not validated.

    Raises:
        JobError: its record is none, or its thresholds are not those of so many classes.
    """
    path, default = run / "run.json", np.full(classes, DEFAULT_THRESHOLD, np.float32)
    try:
        record = json.loads(path.read_bytes())
    except OSError:
        return default
    except (ValueError, RecursionError) as error:
        raise JobError(f"{path} must be the JSON record of a run: {error}", ExitStatus.BAD_INPUT) from None
    try:
        tuned = record["scores"]["val"]["tuned"]["classes"]
    except (KeyError, TypeError):
        return default
    try:
        thresholds = np.array([scores["threshold"] for scores in tuned], np.float32)
    except (KeyError, TypeError, ValueError, OverflowError):
        thresholds = np.empty(0, np.float32)
    if thresholds.shape != (classes,) or not ((thresholds >= 0) & (thresholds <= 1)).all():
        raise JobError(f"{path} must give a threshold in [0, 1] for each of {classes} classes", ExitStatus.BAD_INPUT)
    return thresholds
