"""`python -m trainer.report RUN... --out DIR`: write an HTML page about runs, and its pictures."""

import argparse
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from etl.exit_status import ExitStatus
from etl.files import replace_atomically
from etl.output import escape_output
from trainer.report import drawing, paper, score_drawing
from trainer.report.contact_sheet import MAX_PATCHES, contact_sheet
from trainer.report.evaluations import confusion_of
from trainer.report.html_report import ReportFigure, render_report
from trainer.report.runs import ClassScores, RecordedRun, Samples, are_comparable, open_runs, open_samples
from trainer.report.scaling import ANY_LENGTH, ANY_STORE, scaling_series
from trainer.report.style import STYLE

__all__ = ["main", "write_report"]

_MAX_COLUMNS = 4
"""Most runs whose classes are drawn side by side."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    escape_output()
    parser = argparse.ArgumentParser(
        prog="python -m trainer.report",
        description="Write an HTML page, and its pictures, about one or more training runs, also unfinished ones.",
        allow_abbrev=False,
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, the --out of trainer.run")
    parser.add_argument("--out", type=Path, default=Path("runs/report"), metavar="DIR",
                        help="folder to write report.html and the pictures to (default: %(default)s)")  # fmt: skip
    arguments = parser.parse_args(argv)
    out: Path = arguments.out
    try:
        if out.exists() and not out.is_dir():
            raise ValueError(f"--out must be a folder, {out} is a file")
        runs = open_runs(arguments.runs)
        samples = {kind: [open_samples(run, worst=kind == "worst") for run in runs] for kind in ("samples", "worst")}
        out.mkdir(parents=True, exist_ok=True)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    try:
        print(write_report(runs, samples, out))
    except OSError as error:
        print(f"error: the report cannot be written to {out}: {error}", file=sys.stderr)
        return ExitStatus.FAILED
    return ExitStatus.DONE


def write_report(runs: Sequence[RecordedRun], samples: Mapping[str, Sequence[Samples | None]], out: Path) -> str:
    """Write the page and its pictures, of 110 pixels per inch, into `out`; returns the line that the command prints.

    `samples`: by kind of figure, "samples" or "worst", one entry per run.
    """
    # pictures are drawn and saved in this context: the style also sets their background and resolution
    with mpl.rc_context(STYLE):
        figures = [*_figures(runs), *_confusion(runs)]
        figures += [figure for kind, of_runs in samples.items() for figure in _samples(kind, runs, of_runs)]
    drawn = {out / figure.file: figure.png for figure in figures if figure.png is not None}
    page = out / "report.html"
    for path, content in {**drawn, page: render_report(runs, figures).encode(errors="backslashreplace")}.items():
        with replace_atomically(path) as part:
            part.write_bytes(content)
    numbered = (path for kind in ("confusion", *samples) for path in out.glob(f"{kind}_*.png"))
    for path in {*(out / figure.file for figure in figures), *numbered} - drawn.keys():
        path.unlink(missing_ok=True)  # a picture of an earlier report would look like one of this report
    return f"{len(runs)} run{'s' * (len(runs) > 1)}, {len(drawn)} of {len(figures)} figures -> {page}"


def _png(figure: Figure | None) -> bytes | None:
    if figure is None:
        return None
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _figures(runs: Sequence[RecordedRun]) -> list[ReportFigure]:
    """Curves, classes, and the paper's figures 3 to 6; their texts are in figures.csv."""
    with_paper = are_comparable(runs)
    classes, numbers, note = _classes(runs)
    epochs = scaling_series(runs, lambda run: run.epoch_seconds, ANY_LENGTH)
    totals = scaling_series(runs, lambda run: run.total_seconds)
    epoch_seconds = drawing.seconds_by_workers(epochs, "an epoch", paper.EPOCH_SECONDS if with_paper else {})
    total_seconds = drawing.seconds_by_workers(totals, "all epochs", paper.TOTAL_SECONDS if with_paper else {})
    return [
        ReportFigure("loss_by_step", _png(drawing.loss_by_step(runs))),
        ReportFigure("loss_by_epoch", _png(drawing.loss_by_epoch(runs))),
        ReportFigure("f1_by_epoch", _png(drawing.f1_by_epoch(runs, with_paper))),
        ReportFigure("f1_by_class", _png(drawing.f1_by_class(classes, numbers, with_paper)), note, classes=classes),
        ReportFigure("precision_recall", _png(score_drawing.precision_recall(runs))),
        ReportFigure("reliability", _png(score_drawing.reliability(runs))),
        ReportFigure("epoch_seconds", _png(epoch_seconds), series=epochs),
        ReportFigure("total_seconds", _png(total_seconds), series=totals),
        ReportFigure("f1_by_workers", _png(_f1_by_workers(runs))),
    ]


def _classes(runs: Sequence[RecordedRun]) -> tuple[dict[str, ClassScores], list[int], str]:
    """Scores of each class by label of the run, the runs' numbers, and a note if runs are left out.

    Scores are those on test, or on val if a run has not been scored on test. Of more than `_MAX_COLUMNS` runs the
    first ones with each combination of bands and upsampling are chosen.
    """
    # of the two splits of a run, the later one stays
    splits = {run: split for run in runs for split in ("val", "test") if run.class_scores(split)}
    chosen, note = list(splits), ""
    if len(splits) > _MAX_COLUMNS:
        first_of_kind = {(run.settings.get("bands"), run.upsample): run for run in reversed(chosen)}
        chosen = [run for run in splits if run in first_of_kind.values()][:_MAX_COLUMNS]
        note = f" {len(chosen)} of {len(splits)} runs are shown, the first of each combination of bands and upsampling."
    scores = {f"{run.label}, {splits[run]}": run.class_scores(splits[run]) for run in chosen}
    return scores, [run.number for run in chosen], note


def _f1_by_workers(runs: Sequence[RecordedRun]) -> Figure | None:
    split = "test" if any(run.scores("test") for run in runs) else "val"

    def f1(run: RecordedRun) -> float | None:
        value = (run.scores(split) or {}).get("micro", {}).get("f1")
        return float(value) if isinstance(value, int | float) else None

    return drawing.f1_by_workers(scaling_series(runs, f1, ANY_STORE), {"val": "validation"}.get(split, split))


def _confusion(runs: Sequence[RecordedRun]) -> list[ReportFigure]:
    """Confusion matrices, of the runs on data with one class a patch."""
    figures = []
    for number, run in enumerate(runs, 1):
        confusion = confusion_of(run)
        if confusion is not None:
            note = f"{confusion.counts.sum():,} patches of split {confusion.split}."
            png = _png(score_drawing.confusion_matrix(confusion))
            figures.append(ReportFigure("confusion", png, note, run.name, number))
    return figures


def _samples(kind: str, runs: Sequence[RecordedRun], samples: Sequence[Samples | None]) -> list[ReportFigure]:
    figures = []
    for number, (run, of_run) in enumerate(zip(runs, samples, strict=True), 1):
        if of_run is not None and of_run.patch:
            shown = min(len(of_run.patch), MAX_PATCHES)
            rule = (
                "the most probable class is" if of_run.single_label else "labels with a probability of at least 0.5 are"
            )
            note = f"{shown} of {len(of_run.patch)} patches; {rule} predicted."
            png = _png(contact_sheet(of_run, errors_first=kind == "worst"))
            figures.append(ReportFigure(kind, png, note, run.name, number))
    return figures or [ReportFigure(kind, None)]


if __name__ == "__main__":
    sys.exit(main())
