"""`python -m trainer.evaluate`: score a run on a split of a store, on any number of workers."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from etl.quiet import quiet_stderr
from trainer.config import EvaluateSettings
from trainer.rows import Rows
from trainer.workers.command import claim, run_command
from trainer.workers.horovod import DONE, Workers

__all__ = ["main"]

log = logging.getLogger("trainer.evaluate")

_SAMPLES = 12
_WHITE = 3000.0
"""Stored counts (reflectance 0.3) that are drawn white."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(EvaluateSettings, "trainer.evaluate", argv, evaluate)


def evaluate(settings: EvaluateSettings, workers: Workers) -> int:
    """Collective: score, and write evaluate.<split>.json and samples.npz into the run's folder.

    Raises:
        WorkerError: the input is bad, on every worker alike.
    """
    claim(settings.threads, workers)
    with quiet_stderr():
        from trainer.fit import predictions as score
        from trainer.report import record
    rows, found = score.of_run(settings, workers, labelled=True)
    scored = score.both(rows, found, _thresholds(settings.run, len(rows.classes)))

    def write() -> Path | None:
        if workers.rank:
            return None
        _write_samples(settings.run / "samples.npz", rows, found)
        said = {"command": "trainer.evaluate", "workers": workers.size, "split": settings.split, "scores": scored}
        said |= {"store": str(settings.store), "software": record.software()}
        return record.write(settings.run / f"evaluate.{settings.split}.json", said)

    path = workers.agree("writing the scores", write)
    if path is not None:
        print(f"{settings.split}: {record.scores_line(scored['at_half'])} -> {path}", flush=True)
    return DONE


def _thresholds(run: Path, classes: int) -> Any:
    """Tuned on val when the run ended; one half where it was not validated."""
    half = np.full(classes, 0.5, np.float32)
    try:
        tuned = json.loads((run / "run.json").read_text(encoding="utf-8"))["scores"]["val"]["tuned"]["classes"]
    except (OSError, KeyError, ValueError):
        return half
    return np.array([each["threshold"] for each in tuned], np.float32)


def _write_samples(path: Path, rows: Rows, found: Any) -> None:
    """Some patches in true colour with their labels and probabilities, for the report."""
    places = np.unique(np.linspace(0, len(rows) - 1, _SAMPLES).astype(np.intp))
    with h5py.File(rows.path, "r", locking="best-effort") as file:
        names = [name.decode() for name in file["band_10m"][...]]
        pixels = file["data_10m"][rows.numbers[places]]
        patch = file["patch"][rows.numbers[places]]
    rgb = pixels[..., [names.index(band) for band in ("B04", "B03", "B02")]] / _WHITE
    np.savez(
        path, rgb=(np.clip(rgb, 0, 1) * 255).astype(np.uint8), patch=patch.astype("S64"), labels=rows.labels[places],
        probabilities=found[places], classes=np.array(rows.classes),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
