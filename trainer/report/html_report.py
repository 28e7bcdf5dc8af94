"""One HTML page that holds all it shows: figures, small tables, settings and versions of each run."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.report import paper
from trainer.report.runs import PastRun
from trainer.report.scaling import Series

__all__ = ["Plot", "page"]


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure of the page, or why it is not there."""

    name: str
    """Of its file, without ".png"."""

    title: str
    """Its heading."""

    note: str
    """What is seen, or, where there is no picture, what the runs would have to hold."""

    png: bytes | None = None
    """The picture."""

    table: str = ""
    """HTML that follows the picture."""


_STYLE = """
body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1f2a33; max-width: 1120px; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; } p.note, p.absent { color: #6b7780; }
img { max-width: 100%; height: auto; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; margin: 0.5rem 0; }
th, td { padding: 0.2rem 0.7rem; border-bottom: 1px solid #e6e8ea; text-align: left; vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.differs td { background: #fff6df; } summary { cursor: pointer; }
"""


def page(runs: Sequence[PastRun], plots: Sequence[Plot]) -> str:
    """The page as text; figures stand in it as base64, so it can be sent as one file."""
    title = "Training report: " + (runs[0].name if len(runs) == 1 else f"{len(runs)} runs")
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _section("Runs", _summary(runs)),
        _section(
            "Scores", _scores(runs), "Micro averages and others, with a threshold of 0.5 and tuned on validation."
        ),
        *(_figure(plot) for plot in plots),
        _section(
            "Settings", _compared([run.settings for run in runs], runs), "Where runs differ, the row is coloured."
        ),
        _section("Versions", _compared([_versions(run) for run in runs], runs)),
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(parts) + "\n</body></html>\n"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table; numbers stand to the right, None is a dash."""
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def class_table(columns: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """F1 and support of every class, in order, folded away; `columns` are (label, what `metrics.scores` gave)."""
    names = [one["name"] for one in columns[0][1]["classes"]]
    found = [{one["name"]: one for one in scores["classes"]} for _, scores in columns]
    head = ["class", *(f"{kind}, {label}" for label, _ in columns for kind in ("F1", "support"))]
    head += ["F1, paper, rgb", "F1, paper, all", "support, paper"]
    rows = []
    for name in names:
        row = [name, *(classes.get(name, {}).get(kind) for classes in found for kind in ("f1", "support"))]
        theirs = paper.CLASS_SCORES.get(name)
        rows.append([*row, *((theirs.f1_rgb, theirs.f1_all, theirs.support) if theirs else (None, None, None))])
    return f"<details><summary>Every class as a table</summary>{table(head, rows)}</details>"


def scaling_table(series: Sequence[Series]) -> str:
    """Mean, deviation, speed-up and efficiency of every number of workers."""
    rows = []
    for one in series:
        first = one.points[0]
        for point in one.points:
            faster = first.mean / point.mean
            efficiency = f"{100 * faster * first.workers / point.workers:.0f} %"
            rows.append([one.label, point.workers, len(point.values), point.mean, point.deviation, faster, efficiency])
    return table(["series", "workers", "runs", "mean s", "deviation s", "speed-up", "efficiency"], rows)


def _summary(runs: Sequence[PastRun]) -> str:
    head = ["run", "bands", "upsampling", "workers", "rows", "epochs", "steps", "first loss", "last loss", "s an epoch",
            "s in all"]  # fmt: skip
    rows = []
    for run in runs:
        ends = [float(run.losses[place]) for place in (0, -1)] if len(run.losses) else [None, None]
        counts = [run.record.get(name) for name in ("rows", "epochs", "steps")]
        row = [run.name, run.settings.get("bands"), run.upsample, run.workers, *counts, *ends]
        rows.append([*row, run.epoch_seconds, run.total_seconds])
    return table(head, rows)


def _scores(runs: Sequence[PastRun]) -> str:
    head = ["run", "split", "threshold", "precision", "recall", "F1", "macro F1", "weighted F1", "mean av. precision",
            "rows"]  # fmt: skip
    rows: list[list[Any]] = []
    for run in runs:
        for split, kind in ((split, kind) for split in ("test", "val") for kind in ("at_half", "tuned")):
            found = run.scores(split, kind)
            if found:
                means = [found.get(mean, {}) for mean in ("micro", "macro", "weighted")]
                micro = [means[0].get(name) for name in ("precision", "recall", "f1")]
                others = [mean.get("f1") for mean in means[1:]]
                average = found.get("mean_average_precision")
                shown = {"at_half": "0.5", "tuned": "tuned"}[kind]
                rows.append([run.label, split, shown, *micro, *others, average, found.get("rows")])
    if not rows:
        return '<p class="absent">Left out: no run holds scores.</p>'
    for name, score in paper.SCORES.items():
        rows.append([f"paper ({name}, 4 GPUs)", "test", None, score.precision, score.recall, score.f1, *[None] * 4])
    return table(head, rows)


def _figure(plot: Plot) -> str:
    if plot.png is None:
        return _section(plot.title, f'<p class="absent">Left out: {html.escape(plot.note)}</p>')
    data, words = base64.b64encode(plot.png).decode("ascii"), html.escape(plot.title)
    return _section(plot.title, f'<img alt="{words}" src="data:image/png;base64,{data}">{plot.table}', plot.note)


def _section(title: str, body: str, note: str = "") -> str:
    below = f'<p class="note">{html.escape(note)}</p>' if note else ""
    return f"<h2>{html.escape(title)}</h2>\n{below}{body}"


def _versions(run: PastRun) -> dict[str, str]:
    software = run.record.get("software")
    found = {name: str(run.record[name]) for name in ("host", "commit", "threads") if name in run.record}
    return found | {key: str(value) for key, value in (software.items() if isinstance(software, dict) else ())}


def _compared(each: Sequence[Mapping[str, str]], runs: Sequence[PastRun]) -> str:
    """One row a key, one column a run."""
    keys = list(dict.fromkeys(key for one in each for key in one))
    if not keys:
        return '<p class="absent">Left out: no run holds any.</p>'
    rows = ""
    for key in keys:
        values = [one.get(key) for one in each]
        mark = ' class="differs"' if len(set(values)) > 1 else ""
        rows += f"<tr{mark}>{''.join(map(_cell, (key, *values)))}</tr>\n"
    top = "".join(f"<th>{html.escape(name)}</th>" for name in ("", *(run.name for run in runs)))
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n<tbody>{rows}</tbody></table></div>'


def _cell(value: Any) -> str:
    if isinstance(value, float):
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3f}"
        return f'<td class="number">{text}</td>'
    if isinstance(value, int):
        return f'<td class="number">{value:,}</td>'
    return f"<td>{'-' if value is None else html.escape(str(value))}</td>"
