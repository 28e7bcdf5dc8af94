"""`python -m trainer.evaluate`: score a run on a split of a store, on any number of workers."""

from trainer.workers.interruption import end_on_signals
from trainer.workers.supervisor import RERUN_ADVICE

if __name__ == "__main__":
    end_on_signals(RERUN_ADVICE)  # during the imports below, which take seconds

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from etl.exit_status import ExitStatus
from etl.files import replace_atomically, require_writable
from etl.stderr import suppress_stderr
from trainer.config import RGB_BANDS, EvaluateRunSettings
from trainer.data.selection import SelectedRows
from trainer.data.true_colour import true_colour
from trainer.fit.evaluation import evaluate_predictions
from trainer.fit.metrics import Floats, row_cross_entropy, scores_line
from trainer.fit.thresholds import read_thresholds
from trainer.workers.command import run_command
from trainer.workers.horovod import Workers

__all__ = ["main"]

_SAMPLES = 12  # patches of each set whose pixels are saved for the report


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
    thresholds = read_thresholds(settings.run, len(rows.classes))

    def write() -> None:
        scores = scores_by_threshold(rows, probabilities, thresholds)
        record = {"command": "trainer.evaluate", "workers": workers.size, "split": settings.split}
        record |= evaluate_predictions(rows, probabilities, scores)
        record |= {"store": rows.reader.location.to_record(), "archive": rows.archive, "software": training_software()}
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
    """Write some patches in true colour with their labels and probabilities, if the store has the bands for it.

    Two sets: rows at equal distances, and those with the highest loss, whose arrays are named `worst_...`.
    """
    losses = row_cross_entropy(rows.labels, probabilities, rows.single_label)
    chosen = np.unique(np.linspace(0, len(rows) - 1, _SAMPLES).astype(np.intp))
    worst = np.argsort(-losses, kind="stable")[:_SAMPLES]
    positions = np.concatenate([chosen, worst])
    store, store_rows = rows.reader, rows.store_rows[positions]
    rgb = true_colour(store, store_rows)
    if rgb is None:
        print(f"no picture of samples: {store.location} has no data_10m with {', '.join(RGB_BANDS)}", flush=True)
        return
    names = store.column("patch")[store_rows] if "patch" in store else np.array([f"row {k}" for k in store_rows], "S")
    columns = {
        "rgb": rgb,
        "patch": names.astype("S64"),
        "labels": rows.labels[positions],
        "probabilities": probabilities[positions],
        "loss": losses[positions],
    }
    arrays = {name: values[: len(chosen)] for name, values in columns.items()}
    arrays |= {f"worst_{name}": values[len(chosen) :] for name, values in columns.items()}
    with replace_atomically(path) as part, part.open("wb") as file:
        np.savez(file, classes=np.array(rows.classes), single_label=np.array(rows.single_label), **arrays)


if __name__ == "__main__":
    sys.exit(main())
