"""Training on 1 to n workers: seconds per epoch, efficiency, and the cost of averaging gradients."""

import json
import os
import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.findings import Bar, Findings, Repeats, interleave, median_of, put_ratio
from benchmarks.launch import UNBOUND, Job, Outcome, run_together
from benchmarks.page_cache import disk_of
from benchmarks.readers.stores import make_store
from benchmarks.setup import Setup
from etl.bands import SUPER_BANDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.findings import Run

__all__ = ["QUESTION", "measure"]

QUESTION = "How much shorter is an epoch with more workers, and what do they lose by working together?"

_WORKERS = {"tiny": (1, 2), "laptop": (1, 2), "cluster": (1, 4, 16, 64)}
_BATCH = {"tiny": 2, "laptop": 64, "cluster": 64}
_STEPS = {"tiny": 2, "laptop": 4, "cluster": 50}
"""Steps of an epoch on the most workers."""
_EPOCHS = 3
"""Epochs of a run; the first one, which compiles the graph, is not counted."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """Epochs of one training, or of the slowest of several at the same time."""

    seconds: float
    """Median seconds of an epoch."""

    waiting_s: float
    """Seconds of an epoch for which the worker waits for data."""

    outcome: Outcome
    """Time and memory of the program."""

    @property
    def disturbance(self) -> float:
        """Share of the machine's CPU time that other programs used."""
        return self.outcome.others_share

    def to_record(self, name: str) -> dict[str, Any]:
        """For the record."""
        return {"run": name, "epoch_s": self.seconds, "waiting_s": self.waiting_s, **self.outcome.to_record()}


def measure(setup: Setup) -> Findings:
    """Train on the same rows with each number of workers, and with as many copies, each alone on its part of them."""
    workers, batch = _WORKERS[setup.size], _BATCH[setup.size]
    rows = batch * workers[-1] * _STEPS[setup.size]
    findings = Findings(ranks=list(workers))
    numbers = np.random.default_rng(0)
    for count in workers:
        part = rows // count
        pixels = numbers.integers(1, 10_000, (part, 120, 120, len(SUPER_BANDS)), np.uint16)
        make_store(setup.scratch / f"{count}.h5", pixels)
    findings.data = {"rows": rows, "scratch": disk_of(setup.scratch), "page_cache": "warm"}
    findings.layout = {"batch": batch, "threads": 1, "epochs": _EPOCHS, "cores": os.cpu_count()}
    methods: dict[str, Callable[[], Run]] = {f"{n}_workers": partial(_train, setup, [n], 1) for n in workers}
    methods |= {f"{n}_copies": partial(_train, setup, [1] * n, n) for n in workers[1:]}
    done = interleave(methods, setup.times(1, 3), 0)
    findings.repeats = done.to_record()
    for count in workers:
        _put(findings, done, workers[0], count)
    findings.notes.append(
        "ResNet-50 on twelve bands, one thread per worker, the same rows per epoch for any number of workers. "
        "The copies train at the same time without communication, each on as many rows as a worker has."
    )
    return findings


def _train(setup: Setup, jobs: list[int], share: int) -> Epochs:
    """Train at the same time once per entry of `jobs`, a number of workers; each on 1 / `share` of the rows."""
    batch, folders = _BATCH[setup.size], [setup.scratch / f"run-{number}" for number in range(len(jobs))]
    what = ("--store", str(setup.scratch / f"{share}.h5"), "--bands", "all", "--batch", str(batch), "--threads", "1")
    flags = (*what, "--epochs", str(_EPOCHS), "--validate-every", "0", "--warmup", "0")
    run = [
        Job("trainer.run", (*flags, "--seed", str(number), "--out", str(folder)), ranks, UNBOUND)
        for number, (ranks, folder) in enumerate(zip(jobs, folders, strict=True))
    ]
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    outcomes = run_together(setup, run)
    slowest = max((_epochs(folder) for folder in folders), key=lambda pair: pair[0])
    return Epochs(*slowest, outcomes[0])


def _epochs(folder: Path) -> tuple[float, float]:
    """Median seconds of the epochs after the first, and median seconds of them spent waiting for data."""
    epochs = json.loads((folder / "run.json").read_text(encoding="utf-8"))["by_epoch"][1:]
    waiting = median_of([epoch["seconds_waiting"] for epoch in epochs])
    return median_of([epoch["seconds"] + epoch["seconds_waiting"] for epoch in epochs]), waiting


def _put(findings: Findings, done: Repeats, least: int, workers: int) -> None:
    figures, together = findings.figures, done.runs_of(f"{workers}_workers")
    figures[f"epoch_{workers}_workers_seconds_median"] = median_of([run.seconds for run in together])
    figures[f"waiting_{workers}_workers_share"] = median_of([run.waiting_s / run.seconds for run in together])
    if workers == least:
        return
    alone, copies = done.runs_of(f"{least}_workers"), done.runs_of(f"{workers}_copies")
    ideal = [run.seconds * least / workers for run in alone]
    put_ratio(figures, f"efficiency_{workers}_workers", ideal, [run.seconds for run in together])
    name = f"{workers}_workers_over_copies"
    put_ratio(figures, name, [run.seconds for run in copies], [run.seconds for run in together])
    figures[f"together_{workers}_workers_share"] = 1 - figures[f"{name}_ratio_median"]
    findings.bars.append(Bar(f"{name}_ratio_median", 0.95, at_least=True))
