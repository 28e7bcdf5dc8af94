"""Training on 1 to n workers: seconds an epoch, efficiency, and what the workers pay for averaging their gradients."""

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

QUESTION = "How does an epoch shorten with more workers, and what do they lose by working together?"

_WORKERS = {"tiny": (1, 2), "laptop": (1, 2), "cluster": (1, 4, 16, 64)}
_BATCH = {"tiny": 2, "laptop": 64, "cluster": 64}
_STEPS = {"tiny": 2, "laptop": 4, "cluster": 50}
"""Of an epoch on the most workers."""
_EPOCHS = 3
"""The first one, which traces, is left out."""


@dataclass(frozen=True, slots=True)
class Epochs:
    """One training, or several at the same time."""

    seconds: float
    """Median of an epoch, of the slowest."""

    waiting_s: float
    """Of that, waiting for data."""

    outcome: Outcome
    """What it cost."""

    @property
    def disturbance(self) -> float:
        """Share of the machine that others took."""
        return self.outcome.others_share

    def short(self, name: str) -> dict[str, Any]:
        """For the record."""
        return {"run": name, "epoch_s": self.seconds, "waiting_s": self.waiting_s, **self.outcome.short()}


def measure(setup: Setup) -> Findings:
    """The same rows on every number of workers; beside each, as many copies that train alone, each on its part."""
    workers, batch = _WORKERS[setup.size], _BATCH[setup.size]
    rows = batch * workers[-1] * _STEPS[setup.size]
    found = Findings(ranks=list(workers))
    numbers = np.random.default_rng(0)
    for count in workers:
        part = rows // count
        pixels = numbers.integers(1, 10_000, (part, 120, 120, len(SUPER_BANDS)), np.uint16)
        make_store(setup.scratch / f"{count}.h5", pixels)
    found.data = {"rows": rows, "scratch": disk_of(setup.scratch), "page_cache": "warm"}
    found.layout = {"batch": batch, "threads": 1, "epochs": _EPOCHS, "cores": os.cpu_count()}
    ways: dict[str, Callable[[], Run]] = {f"{n}_workers": partial(_train, setup, [n], 1) for n in workers}
    ways |= {f"{n}_copies": partial(_train, setup, [1] * n, n) for n in workers[1:]}
    done = interleave(ways, setup.times(1, 3), 0)
    found.repeats = done.short()
    for count in workers:
        _put(found, done, workers[0], count)
    found.notes.append(
        "ResNet-50 on twelve bands, one thread a worker; the same rows in an epoch, whatever the number of workers. "
        "The copies know nothing of each other and train at the same time, each on as many rows as a worker takes."
    )
    return found


def _train(setup: Setup, jobs: list[int], share: int) -> Epochs:
    """Train on `jobs` numbers of workers at the same time, on all rows or, `share` above 1, on that part of them."""
    batch, out = _BATCH[setup.size], [setup.scratch / f"run-{number}" for number in range(len(jobs))]
    what = ("--store", str(setup.scratch / f"{share}.h5"), "--bands", "all", "--batch", str(batch), "--threads", "1")
    flags = (*what, "--epochs", str(_EPOCHS), "--validate-every", "0", "--warmup", "0")
    run = [
        Job("trainer.run", (*flags, "--seed", str(number), "--out", str(place)), ranks, UNBOUND)
        for number, (ranks, place) in enumerate(zip(jobs, out, strict=True))
    ]
    for place in out:
        shutil.rmtree(place, ignore_errors=True)
    outcomes = run_together(setup, run)
    slowest = max((_epochs(place) for place in out), key=lambda pair: pair[0])
    return Epochs(*slowest, outcomes[0])


def _epochs(place: Path) -> tuple[float, float]:
    """Median seconds of an epoch after the first, and of those waiting for data."""
    epochs = json.loads((place / "run.json").read_text(encoding="utf-8"))["by_epoch"][1:]
    waiting = median_of([epoch["seconds_waiting"] for epoch in epochs])
    return median_of([epoch["seconds"] + epoch["seconds_waiting"] for epoch in epochs]), waiting


def _put(found: Findings, done: Repeats, least: int, workers: int) -> None:
    figures, mine = found.figures, done.of(f"{workers}_workers")
    figures[f"epoch_{workers}_workers_seconds_median"] = median_of([each.seconds for each in mine])
    figures[f"waiting_{workers}_workers_share"] = median_of([each.waiting_s / each.seconds for each in mine])
    if workers == least:
        return
    alone, copies = done.of(f"{least}_workers"), done.of(f"{workers}_copies")
    ideal = [each.seconds * least / workers for each in alone]
    put_ratio(figures, f"efficiency_{workers}_workers", ideal, [each.seconds for each in mine])
    name = f"{workers}_workers_over_copies"
    put_ratio(figures, name, [each.seconds for each in copies], [each.seconds for each in mine])
    figures[f"together_{workers}_workers_share"] = 1 - figures[f"{name}_ratio_median"]
    found.bars.append(Bar(f"{name}_ratio_median", 0.95, at_least=True))
