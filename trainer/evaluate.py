"""`python -m trainer.evaluate`: score a run on a split of a store, on any number of workers."""

import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etl.stderr import suppress_stderr
from etl.store.reader import StoreReader
from trainer.config import EvaluateSettings
from trainer.data.selection import SelectedRows
from trainer.workers.command import claim, run_command
from trainer.workers.horovod import DONE, Workers

__all__ = ["main"]

log = logging.getLogger("trainer.evaluate")

_SAMPLES = 12
_TRUE_COLOUR = ("B04", "B03", "B02")
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
    with suppress_stderr():
        from trainer.fit import predictions as score
        from trainer.report import record
    rows, found = score.of_run(settings, workers, labelled=True)
    scored = score.both(rows, found, _thresholds(settings.run, len(rows.classes)))

    def write() -> Path | None:
        if workers.rank:
            return None
        said = {"command": "trainer.evaluate", "workers": workers.size, "split": settings.split, "scores": scored}
        said |= {"store": str(settings.store), "software": record.software()}
        path = record.write(settings.run / f"evaluate.{settings.split}.json", said)
        _write_samples(settings.run / "samples.npz", rows, found)
        return path

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


def _write_samples(path: Path, rows: SelectedRows, found: Any) -> None:
    """Some patches in true colour with their labels and probabilities, for the report; nothing without these bands."""
    places = np.unique(np.linspace(0, len(rows) - 1, _SAMPLES).astype(np.intp))
    with StoreReader(rows.path) as store:
        bands = store.text("band_10m") if {"band_10m", "data_10m"} <= set(store.names) else ()
        if not set(_TRUE_COLOUR) <= set(bands):
            print(f"no picture of samples: {rows.path} has no data_10m with {', '.join(_TRUE_COLOUR)}", flush=True)
            return
        pixels = store.read("data_10m", rows.numbers[places])
        chosen = rows.numbers[places]
        names = store.column("patch")[chosen] if "patch" in store else np.array([f"row {row}" for row in chosen], "S")
    rgb = pixels[..., [bands.index(band) for band in _TRUE_COLOUR]] / _WHITE
    np.savez(
        path, rgb=(np.clip(rgb, 0, 1) * 255).astype(np.uint8), patch=names.astype("S64"), labels=rows.labels[places],
        probabilities=found[places], classes=np.array(rows.classes),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
