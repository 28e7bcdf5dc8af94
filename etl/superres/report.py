"""Report of an evaluation: a table to read, a record to compute with."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean

from etl.superres.scores import COMPARED_METHODS, GroupScores
from etl.superres.settings import SuperresSettings
from etl.templates import render_page
from etl.upsample.method import UpsampleMethod

__all__ = ["write_superres_report"]


def write_superres_report(
    settings: SuperresSettings, method: UpsampleMethod, device: str, measured: Sequence[GroupScores]
) -> None:
    """Write `scores.json` and `scores.md` into the folder --out, and print the mean errors, in pixel values.

    `device`: the hardware on which the networks ran; `measured`: by scene and group. "figures" of the record are the
    mean RMSE over bands and scenes at reduced scale, in pixel values, by group and method.
    """
    gsds_m, warnings = sorted({scores.gsd_m for scores in measured}), method.warnings()
    figures = {
        f"rmse_{gsd_m}m_{name}": fmean(scores.reduced[name].rmse_mean for scores in measured if scores.gsd_m == gsd_m)
        for gsd_m in gsds_m
        for name in COMPARED_METHODS
    }
    record = {
        "command": "etl.superres evaluate",
        "weights": [network.to_record() for network in method.networks],
        "precision": method.precision,
        "device": device,
        "warnings": warnings,
        "border_px": settings.border_px,
        "figures": figures,
        "measured": [asdict(scores) for scores in measured],
    }
    (settings.out / "scores.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    page = render_page(__package__, "scores.md.j2", report=record, method=method, measured=measured, fmean=fmean)
    (settings.out / "scores.md").write_text(page, encoding="utf-8", errors="backslashreplace")
    scenes = len({scores.scene for scores in measured})
    for gsd_m in gsds_m:
        errors = ", ".join(f"{name} {figures[f'rmse_{gsd_m}m_{name}']:.1f}" for name in COMPARED_METHODS)
        sys.stdout.write(f"{gsd_m} m bands, reduced scale, mean RMSE over {scenes} scenes: {errors}\n")
    sys.stdout.writelines(f"note: {text}\n" for text in warnings)
