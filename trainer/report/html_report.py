"""One HTML page that holds all it shows: figures, small tables, settings and versions of each run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from etl.templates import png_data_uri, render_page
from trainer.report import paper
from trainer.report.runs import FinishedRun
from trainer.report.scaling import ScalingSeries

__all__ = ["ReportSection", "ReportTable", "class_table", "render_report", "scaling_table"]


@dataclass(frozen=True, slots=True)
class ReportTable:
    """One table; numbers stand to the right, None is shown as a dash."""

    head: Sequence[str]
    """Name of each column."""

    rows: Sequence[Sequence[Any]]
    """Numbers, text or None, one for each column."""

    marks_differences: bool = False
    """Whether a row is coloured in which the values after the first differ."""

    folded_under: str = ""
    """Words under which the table is folded away; empty to show it at once."""


@dataclass(frozen=True, slots=True)
class ReportSection:
    """A heading of the page with a figure, a table, or the reason why neither is there."""

    title: str
    """Its heading."""

    note: str = ""
    """What is seen."""

    png: bytes | None = None
    """The picture, the bytes of a PNG file."""

    table: ReportTable | None = None
    """Shown below the picture."""

    absent: str = ""
    """Where there is nothing to show: what the runs would have to hold."""

    file: str = ""
    """Name of the picture's file, without ".png"; empty for a section of tables alone."""


def render_report(runs: Sequence[FinishedRun], figures: Sequence[ReportSection]) -> str:
    """Return the page as HTML; pictures stand in it as base64, so that it can be sent as one file."""
    sections = [
        ReportSection("Runs", table=_summary(runs)),
        _scores(runs),
        *figures,
        _compared("Settings", [run.settings for run in runs], runs, "Where runs differ, the row is coloured."),
        _compared("Versions", [_versions(run) for run in runs], runs),
    ]
    return render_page(
        __package__,
        "report.html.j2",
        title="Training report: " + (runs[0].name if len(runs) == 1 else f"{len(runs)} runs"),
        sections=sections,
        format_number=_format_number,
        png_data_uri=png_data_uri,
    )


def class_table(columns: Sequence[tuple[str, Mapping[str, Any]]]) -> ReportTable:
    """F1 and support of every class, in order, folded away; `columns` are (label, its `metrics.scores`)."""
    names = [scores["name"] for scores in columns[0][1]["classes"]]
    by_class = [{scores["name"]: scores for scores in all_scores["classes"]} for _, all_scores in columns]
    head = ["class", *(f"{kind}, {label}" for label, _ in columns for kind in ("F1", "support"))]
    head += ["F1, paper, rgb", "F1, paper, all", "support, paper"]
    rows = []
    for name in names:
        row = [name, *(classes.get(name, {}).get(kind) for classes in by_class for kind in ("f1", "support"))]
        score = paper.CLASS_SCORES.get(name)
        rows.append([*row, *((score.f1_rgb, score.f1_all, score.support) if score else (None, None, None))])
    return ReportTable(head, rows, folded_under="Every class as a table")


def scaling_table(series: Sequence[ScalingSeries]) -> ReportTable:
    """Mean and standard deviation in seconds, speed-up and efficiency of every number of workers."""
    rows = []
    for one in series:
        first = one.points[0]
        for point in one.points:
            speedup = first.mean / point.mean
            efficiency = f"{100 * speedup * first.workers / point.workers:.0f} %"
            rows.append([one.label, point.workers, len(point.values), point.mean, point.std, speedup, efficiency])
    return ReportTable(["series", "workers", "runs", "mean s", "deviation s", "speed-up", "efficiency"], rows)


def _summary(runs: Sequence[FinishedRun]) -> ReportTable:
    head = ["run", "bands", "upsampling", "workers", "rows", "epochs", "steps", "first loss", "last loss", "s an epoch",
            "s in all"]  # fmt: skip
    rows = []
    for run in runs:
        ends = [float(run.losses[place]) for place in (0, -1)] if len(run.losses) else [None, None]
        counts = [run.record.get(name) for name in ("rows", "epochs", "steps")]
        row = [run.name, run.settings.get("bands"), run.upsample, run.workers, *counts, *ends]
        rows.append([*row, run.epoch_seconds, run.total_seconds])
    return ReportTable(head, rows)


def _scores(runs: Sequence[FinishedRun]) -> ReportSection:
    title, note = "Scores", "Micro averages and others, with a threshold of 0.5 and tuned on validation."
    head = ["run", "split", "threshold", "precision", "recall", "F1", "macro F1", "weighted F1", "mean av. precision",
            "rows"]  # fmt: skip
    rows: list[list[Any]] = []
    for run in runs:
        for split, kind in ((split, kind) for split in ("test", "val") for kind in ("at_half", "tuned")):
            scores = run.scores(split, kind)
            if scores:
                means = [scores.get(mean, {}) for mean in ("micro", "macro", "weighted")]
                micro = [means[0].get(name) for name in ("precision", "recall", "f1")]
                others = [mean.get("f1") for mean in means[1:]]
                threshold = {"at_half": "0.5", "tuned": "tuned"}[kind]
                average, count = scores.get("mean_average_precision"), scores.get("rows")
                rows.append([run.label, split, threshold, *micro, *others, average, count])
    if not rows:
        return ReportSection(title, note, absent="no run holds scores.")
    for name, score in paper.SCORES.items():
        rows.append([f"paper ({name}, 4 GPUs)", "test", None, score.precision, score.recall, score.f1, *[None] * 4])
    return ReportSection(title, note, table=ReportTable(head, rows))


def _versions(run: FinishedRun) -> dict[str, str]:
    software = run.record.get("software")
    versions = {name: str(run.record[name]) for name in ("host", "commit", "threads") if name in run.record}
    return versions | {key: str(value) for key, value in (software.items() if isinstance(software, dict) else ())}


def _compared(
    title: str, each: Sequence[Mapping[str, str]], runs: Sequence[FinishedRun], note: str = ""
) -> ReportSection:
    """One row a key, one column a run."""
    keys = dict.fromkeys(key for values in each for key in values)
    if not keys:
        return ReportSection(title, note, absent="no run holds any.")
    rows = [(key, *(values.get(key) for values in each)) for key in keys]
    return ReportSection(
        title, note, table=ReportTable(("", *(run.name for run in runs)), rows, marks_differences=True)
    )


def _format_number(value: float) -> str:
    """Thousands grouped; four significant digits, of fractions three decimals."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3f}"
