"""Report of an evaluation: a table to read, a record to compute with."""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from etl.superres.scores import COMPARED_METHODS, GroupScores
from etl.templates import render_page
from etl.upsample.method import UpsampleMethod

__all__ = ["SuperresReport", "print_summary", "write_scores"]


@dataclass(frozen=True, slots=True)
class SuperresReport:
    """All scores, and what they were measured with."""

    method: UpsampleMethod
    """The networks."""

    device: str
    """Hardware on which they ran."""

    border_px: int
    """Left out along borders, in px of the band."""

    measured: list[GroupScores]
    """By scene and group."""

    def figures(self) -> dict[str, float]:
        """Return the mean RMSE over bands and scenes at reduced scale, in pixel values, by group and method."""
        out = {}
        for gsd_m in self.gsds_m():
            groups = [scores for scores in self.measured if scores.gsd_m == gsd_m]
            for method in COMPARED_METHODS:
                out[f"rmse_{gsd_m}m_{method}"] = fmean(scores.reduced[method].rmse_mean for scores in groups)
        return out

    def gsds_m(self) -> list[int]:
        """Return the ground sample distances of the groups measured, ascending, metres."""
        return sorted({scores.gsd_m for scores in self.measured})


def write_scores(report: SuperresReport, folder: Path) -> None:
    """Write `scores.json` and `scores.md`."""
    record: dict[str, Any] = {
        "command": "etl.superres evaluate",
        "weights": [network.to_record() for network in report.method.networks],
        "precision": report.method.precision,
        "device": report.device,
        "warnings": report.method.warnings(),
        "border_px": report.border_px,
        "figures": report.figures(),
        "measured": [asdict(scores) for scores in report.measured],
    }
    (folder / "scores.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    table = render_page(__package__, "scores.md.j2", report=report, fmean=fmean)
    (folder / "scores.md").write_text(table, encoding="utf-8")


def print_summary(report: SuperresReport, folder: Path) -> None:
    """Print the mean errors on stdout, in pixel values."""
    figures = report.figures()
    scenes = len({scores.scene for scores in report.measured})
    for gsd_m in report.gsds_m():
        errors = ", ".join(f"{method} {figures[f'rmse_{gsd_m}m_{method}']:.1f}" for method in COMPARED_METHODS)
        sys.stdout.write(f"{gsd_m} m bands, reduced scale, mean RMSE over {scenes} scenes: {errors}\n")
    for text in report.method.warnings():
        sys.stdout.write(f"note: {text}\n")
    sys.stdout.write(f"tables and picture -> {folder}\n")
