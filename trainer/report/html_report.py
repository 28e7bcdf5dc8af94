"""The HTML page of a report, with its pictures embedded: figures, tables, settings and versions of each run."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from etl.templates import png_data_uri, render_page
from trainer.report import paper
from trainer.report.evaluations import interval_of, worst_tiles
from trainer.report.json_values import as_number, at_path
from trainer.report.runs import ClassScores, RecordedRun, are_comparable
from trainer.report.scaling import ScalingSeries

__all__ = ["ReportFigure", "render_report"]

with Path(__file__).with_name("figures.csv").open(encoding="utf-8", newline="") as _file:
    _TEXTS = {row["kind"]: row for row in csv.DictReader(_file)}
"""Texts of each figure: title, what is "seen" in it, also of the "paper", and why it is "absent" if it is."""


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A section of the page: a picture and its table, or the reason why they are missing."""

    kind: str
    """Key of its row in figures.csv."""

    png: bytes | None
    """The picture as bytes of a PNG file; None if the runs have no data for it."""

    note: str = ""
    """Text to add to the one of figures.csv."""

    run: str = ""
    """Name of the run, if it shows a single one."""

    number: int | None = None
    """Number of that run, from 1."""

    classes: Mapping[str, ClassScores] = field(default_factory=dict)
    """Columns of the table of classes, by label."""

    series: Sequence[ScalingSeries] = ()
    """Content of the table of seconds by number of workers."""

    @property
    def file(self) -> str:
        """Name of the picture's file."""
        return f"{self.kind}.png" if self.number is None else f"{self.kind}_{self.number}.png"

    @property
    def text(self) -> Mapping[str, str]:
        """Its "title", what is "seen" in it, also of the "paper", and why it is "absent" if there is no picture."""
        return _TEXTS[self.kind]


def render_report(runs: Sequence[RecordedRun], figures: Sequence[ReportFigure]) -> str:
    """The page as HTML, with its pictures embedded as base64, so that it can be sent as one file."""
    return render_page(
        __package__,
        "report.html.j2",
        runs=runs,
        figures=figures,
        scores=[row for run in runs for row in _scores(run)],
        probability_scores=[row for run in runs for row in _probability_scores(run)],
        tiles=[[run.label, *tile] for run in runs for tile in worst_tiles(run)],
        settings=_by_key([run.settings for run in runs]),
        versions=_by_key([run.versions for run in runs]),
        paper=paper if are_comparable(runs) else None,
        png_data_uri=png_data_uri,
    )


def _scores(run: RecordedRun) -> list[list[object]]:
    """Rows of the table of scores that depend on thresholds, one for each split and kind of threshold."""
    rows = []
    for split, kind in product(run.splits, ("at_half", "tuned")):
        scores = run.scores(split, kind)
        if scores:
            micro, macro, weighted = (scores.get(average, {}) for average in ("micro", "macro", "weighted"))
            f1 = _with_interval(micro.get("f1"), interval_of(scores, "micro_f1"))
            macro_f1 = _with_interval(macro.get("f1"), interval_of(scores, "macro_f1"))
            rates = [micro.get("precision"), micro.get("recall"), f1, macro_f1, weighted.get("f1")]
            others = [scores.get(name) for name in ("hamming_loss", "subset_accuracy", "rows")]
            rows.append([run.label, split, "0.5" if kind == "at_half" else kind, *rates, *others])
    return rows


def _probability_scores(run: RecordedRun) -> list[list[object]]:
    """Rows of the table of scores that do not depend on thresholds, one for each split."""
    rows = []
    for split in run.splits:
        scores = run.scores(split)
        if scores:
            micro = "micro_average_precision"
            names = ("mean_average_precision", "ranking_loss", "coverage_error", "one_error", "loss", "accuracy")
            average_precision = _with_interval(scores.get(micro), interval_of(scores, micro))
            error = at_path(run.record, ("evaluations", split, "calibration", "expected_calibration_error"))
            rows.append([run.label, split, average_precision, *(scores.get(name) for name in names), error])
    return rows


def _with_interval(score: object, interval: tuple[float, float] | None) -> object:
    """A score, with its interval as text if both are known."""
    if interval is None or math.isnan(as_number(score)):
        return score
    return f"{as_number(score):.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _by_key(mappings: Sequence[Mapping[str, str]]) -> list[list[str | None]]:
    """One row per key, in order of first appearance: the key and its value in each mapping, None if it is missing."""
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    return [[key, *(mapping.get(key) for mapping in mappings)] for key in keys]
