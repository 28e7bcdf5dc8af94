"""One HTML page that holds all it shows: figures, small tables, settings and versions of each run."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from etl.templates import png_data_uri, render_page
from trainer.report import paper
from trainer.report.runs import ClassScores, FinishedRun
from trainer.report.scaling import ScalingSeries

__all__ = ["ReportFigure", "render_report"]

with Path(__file__).with_name("figures.csv").open(encoding="utf-8", newline="") as _file:
    _TEXTS = {row["kind"]: row for row in csv.DictReader(_file)}
"""Of each figure: its heading, what is seen, and, where there is nothing to draw, what the runs would have to hold."""


@dataclass(frozen=True, slots=True)
class ReportFigure:
    """A heading of the page with a picture and its table, or the reason why neither is there."""

    kind: str
    """Its row of figures.csv."""

    png: bytes | None
    """The picture, the bytes of a PNG file; None if the runs hold nothing to draw."""

    note: str = ""
    """What is seen, beside what figures.csv says."""

    run: str = ""
    """Name of the run that it shows, where it shows one alone."""

    number: int | None = None
    """Place of that run among all, from 1."""

    classes: Mapping[str, ClassScores] = field(default_factory=dict)
    """By label of a column of the table of classes."""

    series: Sequence[ScalingSeries] = ()
    """What the table of seconds by number of workers holds."""

    @property
    def file(self) -> str:
        """Name of the picture's file."""
        return f"{self.kind}.png" if self.number is None else f"{self.kind}_{self.number}.png"

    @property
    def text(self) -> Mapping[str, str]:
        """Title, what is "seen", and what is "absent" where there is no picture."""
        return _TEXTS[self.kind]


def render_report(runs: Sequence[FinishedRun], figures: Sequence[ReportFigure]) -> str:
    """Return the page as HTML; pictures stand in it as base64, so that it can be sent as one file."""
    kinds = [(split, kind) for split in ("test", "val") for kind in ("at_half", "tuned")]
    # all that a run may have been scored on, not only what every run has
    scores = [(run, split, kind, run.scores(split, kind)) for run in runs for split, kind in kinds]
    return render_page(
        __package__,
        "report.html.j2",
        runs=runs,
        figures=figures,
        scores=[row for row in scores if row[-1]],
        settings=_by_key([run.settings for run in runs]),
        versions=_by_key([run.versions for run in runs]),
        paper=paper,
        png_data_uri=png_data_uri,
    )


def _by_key(each: Sequence[Mapping[str, str]]) -> list[list[str | None]]:
    """One row a key, in order of first appearance: the key and its value in each mapping, None if it has none."""
    keys = dict.fromkeys(key for values in each for key in values)
    return [[key, *(values.get(key) for values in each)] for key in keys]
