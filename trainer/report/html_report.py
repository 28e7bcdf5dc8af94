"""The HTML page of a report, with its pictures embedded: figures, tables, settings and versions of each run."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etl.templates import png_data_uri, render_page
from trainer.report import paper
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
    kinds = [(split, kind) for split in ("test", "val") for kind in ("at_half", "tuned")]
    # scores that any of the runs has, not only those that all have
    scores = [(run, split, kind, run.scores(split, kind)) for run in runs for split, kind in kinds]
    return render_page(
        __package__,
        "report.html.j2",
        runs=runs,
        figures=figures,
        scores=[row for row in scores if row[-1]],
        settings=_by_key([run.settings for run in runs]),
        versions=_by_key([run.versions for run in runs]),
        paper=paper if are_comparable(runs) else None,
        png_data_uri=png_data_uri,
    )


def _by_key(mappings: Sequence[Mapping[str, str]]) -> list[list[str | None]]:
    """One row per key, in order of first appearance: the key and its value in each mapping, None if it is missing."""
    keys = dict.fromkeys(key for mapping in mappings for key in mapping)
    return [[key, *(mapping.get(key) for mapping in mappings)] for key in keys]
