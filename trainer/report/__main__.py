"""`python -m trainer.report RUN... --out DIR`: what runs came to, as one HTML page and its pictures."""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from trainer.report import contact_sheet as sheet
from trainer.report import drawing as draw
from trainer.report import paper
from trainer.report.html_report import ReportSection, ReportTable, class_table, render_report, scaling_table
from trainer.report.runs import PastRun, Samples, open_runs, open_samples
from trainer.report.scaling import ANY_LENGTH, ANY_STORE, series_of

__all__ = ["main", "report"]

MOST_COLUMNS = 4
"""Runs whose classes are drawn side by side."""

_LOOKS: dict[Any, Any] = {"font.family": "DejaVu Sans", "text.color": draw.INK, "axes.labelcolor": draw.INK}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m trainer.report",
        description="Draw what runs of the trainer came to: one HTML page and its pictures.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, --out of trainer.run")
    parser.add_argument("--out", type=Path, default=Path("runs/report"), metavar="DIR",
                        help="folder of the page and its pictures (default: %(default)s)")  # fmt: skip
    given = parser.parse_args(argv)
    try:
        if given.out.exists() and not given.out.is_dir():
            raise ValueError(f"--out must be a folder, {given.out} is a file")
        runs = open_runs(given.runs)
        samples = [open_samples(run) for run in runs]
        given.out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    print(report(runs, samples, given.out))
    return 0


def report(runs: Sequence[PastRun], samples: Sequence[Samples | None], out: Path) -> str:
    """Write the page and its pictures into the folder `out`; returns what the command answers.

    `samples` are each run's.
    """
    with mpl.rc_context(_LOOKS):
        plots = [*_curves(runs), _classes(runs), *_scaling(runs), _by_workers(runs), *_samples(runs, samples)]
    for path in (*(out / f"{plot.file}.png" for plot in plots), *out.glob("samples_*.png")):
        path.unlink(missing_ok=True)  # an earlier report's would pass for this one's
    for plot in plots:
        if plot.png is not None:
            (out / f"{plot.file}.png").write_bytes(plot.png)
    part = out / "report.html.part"
    part.write_text(render_report(runs, plots), encoding="utf-8")
    path = part.rename(out / "report.html")
    drawn = sum(plot.png is not None for plot in plots)
    return f"{len(runs)} run{'s' * (len(runs) > 1)}, {drawn} of {len(plots)} figures -> {path}"


def _plot(
    name: str, title: str, figure: Figure | None, notes: tuple[str, str], table: ReportTable | None = None
) -> ReportSection:
    """`notes` are what is seen, and what is missing where there is no figure."""
    if figure is None:
        return ReportSection(title, absent=notes[1], file=name)
    png = io.BytesIO()
    figure.savefig(png, format="png", facecolor=draw.PAGE)
    return ReportSection(title, notes[0], png.getvalue(), table, file=name)


def _curves(runs: Sequence[PastRun]) -> list[ReportSection]:
    return [
        _plot("loss_by_step", "Loss by step", draw.loss_by_step(runs),
              ("Of many steps the mean of a few at a time, with their range behind it.", "no run holds losses.")),
        _plot("loss_by_epoch", "Loss by epoch", draw.loss_by_epoch(runs),
              ("Mean over the epoch's rows.", "no run holds the loss of a whole epoch.")),
        _plot("f1_by_epoch", "F1 by epoch", draw.f1_by_epoch(runs),
              ("On validation, threshold 0.5; the paper's test scores (table 2) in grey.",
               "no run holds scores of the validation split by epoch.")),
    ]  # fmt: skip


def _classes(runs: Sequence[PastRun]) -> ReportSection:
    best: dict[PastRun, tuple[str, Mapping[str, Any]]] = {}
    for run, split in ((run, split) for run in runs for split in ("test", "val")):
        scores = run.scores(split)
        if scores and scores.get("classes"):
            best.setdefault(run, (f"{run.label}, {split}", scores))
    chosen = list(best)
    note = "Threshold 0.5; the paper's (table 3) as diamonds. Its test set is not ours: its split is not stated. "
    note += "Classes of which no run has a row are left out here, not in the table."
    if len(best) > MOST_COLUMNS:
        first = {(run.settings.get("bands"), run.upsample): run for run in reversed(chosen)}
        chosen = [run for run in best if run in first.values()][:MOST_COLUMNS]
        note += f" {len(chosen)} of {len(best)} runs are shown, the first of each kind of bands and upsampling."
    columns = [best[run] for run in chosen]
    notes = (note, "no run holds scores by class.")
    table = class_table(columns) if columns else None
    return _plot("f1_by_class", "F1 by class beside support", draw.f1_by_class(columns), notes, table)


def _scaling(runs: Sequence[PastRun]) -> list[ReportSection]:
    """The paper's figures 3 to 5."""
    absent = "it takes runs of the same settings with different numbers of workers"
    epochs = series_of(runs, lambda run: run.epoch_seconds, ANY_LENGTH)
    totals = series_of(runs, lambda run: run.total_seconds)
    seen = "Mean and standard deviation over repeats; runs of one series have the same settings but for seed and out."
    of_epoch = f"{seen} Training alone, without the first epoch; of a run without two whole epochs, by its steps."
    of_all = f"{seen} All epochs, validation included. Paper: figure 5, whose ends its text tells."
    plots = []
    for name, title, series, published, notes in (
        ("epoch_seconds", "Seconds of an epoch by workers", epochs, paper.EPOCH_SECONDS,
         (f"{of_epoch} Paper: figure 3.", f"{absent}.")),
        ("total_seconds", "Seconds in all by workers", totals, paper.TOTAL_SECONDS,
         (of_all, f"{absent} that ended all their epochs.")),
    ):  # fmt: skip
        what = "an epoch" if series is epochs else "all epochs"
        figure = draw.times(series, what, published)
        plots.append(_plot(name, title, figure, notes, scaling_table(series) if figure else None))
    return plots


def _by_workers(runs: Sequence[PastRun]) -> ReportSection:
    """The paper's figure 6."""
    split = "test" if any(run.scores("test") for run in runs) else "validation"

    def f1(run: PastRun) -> float | None:
        found = (run.scores("test" if split == "test" else "val") or {}).get("micro", {}).get("f1")
        return float(found) if isinstance(found, int | float) else None

    notes = (
        "Mean and standard deviation over repeats, by the store's upsampling. (Paper: figure 6.)",
        "it takes runs with scores and different numbers of workers, or of stores with different upsampling.",
    )
    series = series_of(runs, f1, ANY_STORE)
    return _plot("f1_by_workers", "F1 by workers and upsampling", draw.f1_by_workers(series, split), notes)


def _samples(runs: Sequence[PastRun], samples: Sequence[Samples | None]) -> list[ReportSection]:
    plots = []
    for number, (run, found) in enumerate(zip(runs, samples, strict=True), 1):
        if found is not None and found.patch:
            shown = min(len(found.patch), sheet.MOST)
            note = f"{shown} of {len(found.patch)} patches; a label is predicted from 0.5 on."
            title, name = f"Sample predictions of {run.name}", f"samples_{number}"
            plots.append(_plot(name, title, sheet.contact_sheet(found), (note, "")))
    return plots or [ReportSection("Sample predictions", absent="no run holds samples.npz.", file="samples_1")]


if __name__ == "__main__":
    sys.exit(main())
