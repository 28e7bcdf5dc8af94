"""Short trainings that scenarios share: commands on one rank that has all cores, each noted with what it cost."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.findings import Findings
from benchmarks.launch import UNBOUND, Job, run
from benchmarks.setup import Setup

__all__ = ["KINDS", "Course", "command", "put_f1", "train"]

log = logging.getLogger(__name__)

KINDS = ("at_half", "tuned")
"""Of scores: threshold 0.5, and thresholds tuned per class on the split val."""


@dataclass(frozen=True, slots=True)
class Course:
    """How long a training is; all else is the same at every size."""

    steps: int
    batch: int
    validate_every: int
    """Epochs."""
    precision: str

    @property
    def flags(self) -> tuple[str, ...]:
        """Of trainer.run."""
        return (
            *("--steps", str(self.steps), "--batch", str(self.batch), "--precision", self.precision),
            *("--rate", "0.4", "--warmup", "0", "--decay", "polynomial", "--mixup", "0", "--dropout", "0.2"),
            *("--validate-every", str(self.validate_every)),
        )


def command(setup: Setup, found: Findings, module: str, flags: tuple[str, ...]) -> None:
    """Run one command."""
    log.info("%s %s", module, " ".join(flag for flag in flags if not Path(flag).is_absolute()))
    found.repeats.append({"run": module, **run(setup, Job(module, flags, 1, UNBOUND)).short()})


def train(setup: Setup, found: Findings, where: tuple[Path, Path], bands: str, course: Course) -> dict[str, Any]:
    """Train on a store into the folder of a run, both named by `where`; scores of the split test, by `KINDS`."""
    store, out = where
    command(setup, found, "trainer.run", ("--store", str(store), "--bands", bands, "--out", str(out), *course.flags))
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    found.repeats[-1] |= {"bands": bands, "loss": record["loss"], "by_epoch": record["by_epoch"]}
    command(setup, found, "trainer.evaluate", ("--run", str(out), "--store", str(store), "--split", "test"))
    scores: dict[str, Any] = json.loads((out / "evaluate.test.json").read_text(encoding="utf-8"))["scores"]
    return scores


def put_f1(figures: dict[str, float], name: str, scores: dict[str, Any]) -> None:
    """Add micro-F1 and macro-F1 of both kinds."""
    for kind in KINDS:
        for mean in ("micro", "macro"):
            figures[f"f1_{mean}_{name}_{kind}"] = scores[kind][mean]["f1"]
