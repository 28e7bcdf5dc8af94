"""What an evaluation says: a table to read, a record to compute with."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from etl.superres.scores import WAYS, Measured, Scores
from etl.upsample.method import Method

__all__ = ["Answer", "say", "write"]


@dataclass(frozen=True, slots=True)
class Answer:
    """All that was measured, and with what."""

    method: Method
    """The networks."""

    device: str
    """What they ran on."""

    border_px: int
    """Left out along borders, in px of the band."""

    measured: list[Measured]
    """By scene and group."""

    def figures(self) -> dict[str, float]:
        """Mean over bands and scenes of the root mean square error at reduced scale, by way and group."""
        groups = sorted({one.gsd_m for one in self.measured})
        return {
            f"rmse_{gsd_m}m_{way}": fmean(one.reduced[way].rmse_mean for one in self.measured if one.gsd_m == gsd_m)
            for gsd_m in groups
            for way in WAYS
        }


def write(answer: Answer, folder: Path) -> None:
    """Write `scores.json` and `scores.md`."""
    record: dict[str, Any] = {
        "command": "etl.superres evaluate",
        "weights": [network.said() for network in answer.method.networks],
        "precision": answer.method.precision,
        "device": answer.device,
        "warnings": answer.method.warnings(),
        "border_px": answer.border_px,
        "figures": answer.figures(),
        "measured": [asdict(one) for one in answer.measured],
    }
    (folder / "scores.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / "scores.md").write_text("\n".join([*_heading(answer), *_tables(answer)]) + "\n", encoding="utf-8")


def _heading(answer: Answer) -> Iterator[str]:
    yield "# Super-resolution measured"
    yield ""
    for network in answer.method.networks:
        level = network.level or "unknown"
        shape = f"{network.blocks} blocks of {network.filters} filters"
        yield f"- {network.gsd_m} m: `{network.file}`, {shape}, level {level}, SHA-256 `{network.sha256}`"
    yield f"- {answer.method.precision} on {answer.device}; {answer.border_px} px of the band left out along borders"
    yield from (f"- **{text}**" for text in answer.method.warnings())
    yield ""
    yield (
        "*Reduced*: the product made coarser by the band's own factor (Gaussian of sigma 1 / factor, block means), "
        "brought back, against the original (Wald's protocol). *Consistency*: brought to 10 m and made coarser again, "
        "against the original. RMSE in reflectance x 10,000, SRE in dB, SAM in degrees over a group's bands."
    )


def _tables(answer: Answer) -> Iterator[str]:
    for one in answer.measured:
        yield ""
        yield f"## {one.scene}: {one.gsd_m} m bands"
        yield ""
        yield f"| | | {' | '.join(one.bands)} | mean | SAM |"
        yield "|---|---|" + "---:|" * (len(one.bands) + 2)
        for way in WAYS:
            yield from _rows(f"reduced, {way}", one.reduced[way])
        for way in WAYS:
            yield from _rows(f"consistency, {way}", one.consistency[way])


def _rows(name: str, scores: Scores) -> Iterator[str]:
    for label, values, digits in (("RMSE", scores.rmse, 1), ("SRE", scores.sre_db, 2), ("UIQ", scores.uiq, 4)):
        cells = [f"{value:.{digits}f}" for value in (*values, fmean(values))]
        sam = f"{scores.sam_deg:.3f}" if label == "RMSE" else ""
        yield f"| {name} | {label} | {' | '.join(cells)} | {sam} |"


def say(answer: Answer, folder: Path) -> None:
    """Print the mean errors on stdout."""
    figures = answer.figures()
    scenes = len({one.scene for one in answer.measured})
    for gsd_m in sorted({one.gsd_m for one in answer.measured}):
        words = ", ".join(f"{way} {figures[f'rmse_{gsd_m}m_{way}']:.1f}" for way in WAYS)
        sys.stdout.write(f"{gsd_m} m bands, reduced scale, mean RMSE over {scenes} scenes: {words}\n")
    for text in answer.method.warnings():
        sys.stdout.write(f"note: {text}\n")
    sys.stdout.write(f"tables and picture -> {folder}\n")
