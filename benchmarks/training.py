"""Short trainings for several scenarios: commands on one rank that has all cores, with a record of their cost."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.findings import Findings
from benchmarks.launch import UNBOUND, Job, run
from benchmarks.setup import Setup

__all__ = ["THRESHOLD_KINDS", "TrainingLength", "command", "put_f1", "train"]

log = logging.getLogger(__name__)

THRESHOLD_KINDS = ("at_half", "tuned")
"""Kinds of thresholds: 0.5, and tuned for each class on split val."""


@dataclass(frozen=True, slots=True)
class TrainingLength:
    """Length of a training; all other settings are the same at every size."""

    steps: int
    batch: int
    validate_every: int
    """Epochs between validations."""
    precision: str

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags of trainer.run."""
        return (
            *("--steps", str(self.steps), "--batch", str(self.batch), "--precision", self.precision),
            *("--rate", "0.4", "--warmup", "0", "--decay", "polynomial", "--mixup", "0", "--dropout", "0.2"),
            *("--validate-every", str(self.validate_every)),
        )


def command(setup: Setup, findings: Findings, module: str, flags: tuple[str, ...]) -> None:
    """Run one command and add its cost to the repeats."""
    log.info("%s %s", module, " ".join(flag for flag in flags if not Path(flag).is_absolute()))
    findings.repeats.append({"run": module, **run(setup, Job(module, flags, 1, UNBOUND)).to_record()})


def train(
    setup: Setup, findings: Findings, where: tuple[Path, Path], bands: str, length: TrainingLength
) -> dict[str, Any]:
    """Train, and return the scores on split test by kind of threshold; `where`: (store, folder of the run)."""
    store, out = where
    command(setup, findings, "trainer.run", ("--store", str(store), "--bands", bands, "--out", str(out), *length.flags))
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    findings.repeats[-1] |= {"bands": bands, "loss": record["loss"], "by_epoch": record["by_epoch"]}
    command(setup, findings, "trainer.evaluate", ("--run", str(out), "--store", str(store), "--split", "test"))
    scores: dict[str, Any] = json.loads((out / "evaluate.test.json").read_text(encoding="utf-8"))["scores"]
    return scores


def put_f1(figures: dict[str, float], name: str, scores: dict[str, Any]) -> None:
    """Add micro-F1 and macro-F1 at both kinds of thresholds."""
    for kind in THRESHOLD_KINDS:
        for mean in ("micro", "macro"):
            figures[f"f1_{mean}_{name}_{kind}"] = scores[kind][mean]["f1"]
