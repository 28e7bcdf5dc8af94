"""`python -m trainer.evaluate`: score a run on a split of a store, on any number of workers."""

from trainer.workers.interruption import end_on_signals
from trainer.workers.supervisor import RERUN_ADVICE

if __name__ == "__main__":
    end_on_signals(RERUN_ADVICE)  # during the imports below, which take seconds

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.exit_status import ExitStatus
from etl.files import replace_atomically, require_writable
from etl.pixel_groups import IMAGES
from etl.stderr import suppress_stderr
from etl.store.reader import StoreReader
from trainer.config import RGB_BANDS, EvaluateRunSettings
from trainer.data.selection import SelectedRows
from trainer.fit.metrics import Floats, scores_line
from trainer.fit.thresholds import read_thresholds
from trainer.workers.command import run_command
from trainer.workers.horovod import Workers

__all__ = ["main"]

_SAMPLES = 12  # patches whose pixels are saved for the report
_WHITE = 3000.0
"""Stored counts (reflectance 0.3) that are drawn white."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(EvaluateRunSettings, "trainer.evaluate", argv, evaluate)


def evaluate(settings: EvaluateRunSettings, workers: Workers) -> int:
    """Collective: score the run, and write evaluate.<split>.json and, with pixels of some patches, samples.npz.

    Raises:
        JobError: the input is bad, on every worker alike.
    """
    path = settings.run / f"evaluate.{settings.split}.json"
    with suppress_stderr():
        from trainer.fit.predictions import load_and_predict, scores_by_threshold
        from trainer.report.record import training_software, write_record
    rows, probabilities = load_and_predict(
        settings, workers, labelled_only=True, check=lambda: _require_writable_run(settings.run, path)
    )
    scores = scores_by_threshold(rows, probabilities, read_thresholds(settings.run, len(rows.classes)))

    def write() -> None:
        record = {"command": "trainer.evaluate", "workers": workers.size, "split": settings.split, "scores": scores}
        record |= {"store": rows.reader.location.to_record(), "software": training_software()}
        write_record(path, record)
        _write_samples(settings.run / "samples.npz", rows, probabilities)  # last: if it fails, scores are not lost
        print(f"{settings.split}: {scores_line(scores['at_half'])} -> {path}", flush=True)

    workers.on_worker_0("writing the scores", write)
    return ExitStatus.DONE


def _require_writable_run(run: Path, path: Path) -> None:
    """Check that the file at `path` can be written in the folder of a run; if that is absent, loading it says so."""
    if run.is_dir():
        require_writable(path)


def _write_samples(path: Path, rows: SelectedRows, probabilities: Floats) -> None:
    """Write some patches in true colour with their labels and probabilities, if the store has the bands for it."""
    positions = np.unique(np.linspace(0, len(rows) - 1, _SAMPLES).astype(np.intp))
    store, store_rows = rows.reader, rows.store_rows[positions]
    rgb = _true_colour(store, store_rows)
    if rgb is None:
        print(f"no picture of samples: {store.location} has no data_10m with {', '.join(RGB_BANDS)}", flush=True)
        return
    names = store.column("patch")[store_rows] if "patch" in store else np.array([f"row {k}" for k in store_rows], "S")
    with replace_atomically(path) as part, part.open("wb") as file:
        np.savez(
            file, rgb=(np.clip(rgb, 0, 1) * 255).astype(np.uint8), patch=names.astype("S64"),
            labels=rows.labels[positions], probabilities=probabilities[positions], classes=np.array(rows.classes),
        )  # fmt: skip


def _true_colour(store: StoreReader, store_rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
    """Brightness of these rows in red, green and blue, shape (patch, row, col, 3); None without such bands."""
    if IMAGES in store and store.schema.images is not None:
        pixels = store.read(IMAGES, store_rows)[..., store.schema.images.true_colour]
        black, white = np.percentile(pixels, (1, 99), axis=(0, 1, 2))  # 8 bits need not be bright either
        return np.asarray((pixels - black) / np.maximum(white - black, 1))
    bands = store.text("band_10m") if {"band_10m", "data_10m"} <= set(store.names) else ()
    if not set(RGB_BANDS) <= set(bands):
        return None
    return store.read("data_10m", store_rows)[..., [bands.index(band) for band in RGB_BANDS]] / _WHITE


if __name__ == "__main__":
    sys.exit(main())
