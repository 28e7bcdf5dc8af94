"""`python -m trainer.report RUN... --out DIR`: finished runs as one HTML page and its pictures."""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from etl.files import replace_atomically
from trainer.report import drawing, paper
from trainer.report.contact_sheet import MAX_PATCHES, contact_sheet
from trainer.report.html_report import ReportSection, ReportTable, class_table, render_report, scaling_table
from trainer.report.runs import FinishedRun, Samples, open_runs, open_samples
from trainer.report.scaling import ANY_LENGTH, ANY_STORE, scaling_series

__all__ = ["main", "write_report"]

_MAX_COLUMNS = 4
"""Runs whose classes are drawn side by side."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.report",
        description="Write an HTML page, and its pictures, about one or more finished training runs.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a finished run, the --out of trainer.run"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/report"), metavar="DIR",
                        help="folder to write report.html and the pictures to (default: %(default)s)")  # fmt: skip
    arguments = parser.parse_args(argv)
    out: Path = arguments.out
    try:
        if out.exists() and not out.is_dir():
            raise ValueError(f"--out must be a folder, {out} is a file")
        runs = open_runs(arguments.runs)
        samples = [open_samples(run) for run in runs]
        out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(write_report(runs, samples, out))
    return 0


def write_report(runs: Sequence[FinishedRun], samples: Sequence[Samples | None], out: Path) -> str:
    """Write the page and its pictures, of 110 pixels an inch, into `out`; returns the line that the command prints.

    `samples` has one entry a run.
    """
    with mpl.rc_context(drawing.STYLE):
        figures = [*_curves(runs), _classes(runs), *_scaling(runs), _by_workers(runs), *_samples(runs, samples)]
    for path in (*(out / f"{figure.file}.png" for figure in figures), *out.glob("samples_*.png")):
        path.unlink(missing_ok=True)  # a picture of an earlier report would pass for one of this report
    for figure in figures:
        if figure.png is not None:
            (out / f"{figure.file}.png").write_bytes(figure.png)
    page = out / "report.html"
    with replace_atomically(page) as part:
        part.write_text(render_report(runs, figures), encoding="utf-8")
    drawn = sum(figure.png is not None for figure in figures)
    return f"{len(runs)} run{'s' * (len(runs) > 1)}, {drawn} of {len(figures)} figures -> {page}"


def _report_figure(
    name: str, title: str, figure: Figure | None, *, seen: str, absent: str = "", table: ReportTable | None = None
) -> ReportSection:
    """The figure as PNG with the note `seen` and the table; where there is none, the note `absent` alone."""
    if figure is None:
        return ReportSection(title, absent=absent, file=name)
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return ReportSection(title, seen, png.getvalue(), table, file=name)


def _curves(runs: Sequence[FinishedRun]) -> list[ReportSection]:
    return [
        _report_figure(
            "loss_by_step", "Loss by step", drawing.loss_by_step(runs),
            seen="Of many steps the mean of a few at a time, with their range behind it.",
            absent="no run holds losses.",
        ),
        _report_figure(
            "loss_by_epoch", "Loss by epoch", drawing.loss_by_epoch(runs),
            seen="Mean over the epoch's rows.",
            absent="no run holds the loss of a whole epoch.",
        ),
        _report_figure(
            "f1_by_epoch", "F1 by epoch", drawing.f1_by_epoch(runs),
            seen="On validation, threshold 0.5; the paper's test scores (table 2) in grey.",
            absent="no run holds scores of the validation split by epoch.",
        ),
    ]  # fmt: skip


def _classes(runs: Sequence[FinishedRun]) -> ReportSection:
    """F1 of each class on test, or on val where a run has not been scored on test."""
    columns: dict[FinishedRun, tuple[str, Mapping[str, Any]]] = {}
    for run, split in ((run, split) for run in runs for split in ("test", "val")):
        scores = run.scores(split)
        if scores and scores.get("classes"):
            columns.setdefault(run, (f"{run.label}, {split}", scores))
    chosen = list(columns)
    note = "Threshold 0.5; the paper's (table 3) as diamonds. Its test set is not ours: its split is not stated. "
    note += "Classes of which no run has a row are left out here, not in the table."
    if len(columns) > _MAX_COLUMNS:
        first_of_kind = {(run.settings.get("bands"), run.upsample): run for run in reversed(chosen)}
        chosen = [run for run in columns if run in first_of_kind.values()][:_MAX_COLUMNS]
        note += f" {len(chosen)} of {len(columns)} runs are shown, the first of each kind of bands and upsampling."
    shown = [columns[run] for run in chosen]
    return _report_figure(
        "f1_by_class", "F1 by class beside support", drawing.f1_by_class(shown),
        seen=note, absent="no run holds scores by class.", table=class_table(shown) if shown else None,
    )  # fmt: skip


def _scaling(runs: Sequence[FinishedRun]) -> list[ReportSection]:
    """The paper's figures 3 to 5."""
    absent = "it takes runs of the same settings with different numbers of workers"
    seen = "Mean and standard deviation over repeats; runs of one series have the same settings but for seed and out."
    epochs = scaling_series(runs, lambda run: run.epoch_seconds, ANY_LENGTH)
    totals = scaling_series(runs, lambda run: run.total_seconds)
    return [
        _report_figure(
            "epoch_seconds", "Seconds of an epoch by workers",
            drawing.seconds_by_workers(epochs, "an epoch", paper.EPOCH_SECONDS),
            seen=f"{seen} Training alone, without the first epoch; of a run without two whole epochs, by its steps. "
            "Paper: figure 3.",
            absent=f"{absent}.", table=scaling_table(epochs),
        ),
        _report_figure(
            "total_seconds", "Seconds in all by workers",
            drawing.seconds_by_workers(totals, "all epochs", paper.TOTAL_SECONDS),
            seen=f"{seen} All epochs, validation included. Paper: figure 5, whose ends its text tells.",
            absent=f"{absent} that ended all their epochs.", table=scaling_table(totals),
        ),
    ]  # fmt: skip


def _by_workers(runs: Sequence[FinishedRun]) -> ReportSection:
    """The paper's figure 6."""
    split = "test" if any(run.scores("test") for run in runs) else "validation"

    def f1(run: FinishedRun) -> float | None:
        value = (run.scores("test" if split == "test" else "val") or {}).get("micro", {}).get("f1")
        return float(value) if isinstance(value, int | float) else None

    return _report_figure(
        "f1_by_workers", "F1 by workers and upsampling",
        drawing.f1_by_workers(scaling_series(runs, f1, ANY_STORE), split),
        seen="Mean and standard deviation over repeats, by the store's upsampling. (Paper: figure 6.)",
        absent="it takes runs with scores and different numbers of workers, or of stores with different upsampling.",
    )  # fmt: skip


def _samples(runs: Sequence[FinishedRun], samples: Sequence[Samples | None]) -> list[ReportSection]:
    figures = []
    for number, (run, of_run) in enumerate(zip(runs, samples, strict=True), 1):
        if of_run is not None and of_run.patch:
            shown = min(len(of_run.patch), MAX_PATCHES)
            note = f"{shown} of {len(of_run.patch)} patches; a label is predicted from 0.5 on."
            title = f"Sample predictions of {run.name}"
            figures.append(_report_figure(f"samples_{number}", title, contact_sheet(of_run), seen=note))
    return figures or [ReportSection("Sample predictions", absent="no run holds samples.npz.", file="samples_1")]


if __name__ == "__main__":
    sys.exit(main())
