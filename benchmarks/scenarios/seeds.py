"""Scores that the trainer's loop reaches, compared with Keras's `model.fit`, over several seeds."""

import os
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.findings import Bar, Findings
from benchmarks.inputs import make_labelled_tiles
from benchmarks.launch import UNBOUND, run_program
from benchmarks.setup import Setup
from benchmarks.training import command

__all__ = ["QUESTION", "measure"]

QUESTION = "Does the trainer's loop reach the scores of Keras's model.fit, with the same network, rows and order?"

_JOBS: dict[str, dict[str, Any]] = {
    "tiny": {"seeds": 2, "epochs": 1, "batch": 64},
    "laptop": {"seeds": 5, "epochs": 8, "batch": 32},
    "cluster": {"seeds": 10, "epochs": 20, "batch": 32},
}
_TILES = {"tiny": (2, 1200), "laptop": (4, 2400), "cluster": (6, 3600)}
"""Number of tiles and their side in pixels: 200, 1,600 and 5,398 patches."""


def measure(setup: Setup) -> Findings:
    """Extract a sample, and train on it by both loops for each seed."""
    source, store, job = make_labelled_tiles(setup, *_TILES[setup.size]), setup.scratch / "store.h5", _JOBS[setup.size]
    findings = Findings(ranks=[1], layout={**job, "network": "small", "cores": os.cpu_count()})
    paths = ("--catalogue", str(source.catalogue), "--source", str(source.source), "--out", str(store))
    command(setup, findings, "etl.extract", paths)
    outcome, scored = run_program(setup, "seeds", {**job, "store": str(store)}, 1, UNBOUND)
    findings.data = {"tiles": _TILES[setup.size][0], "side_px": _TILES[setup.size][1]}
    findings.repeats += scored
    ours, keras = (np.array([one[loop] for one in scored]) for loop in ("ours", "keras"))
    above = ours - keras
    error = float(above.std(ddof=1) / len(above) ** 0.5)
    half = float(stats.t.ppf(0.975, len(above) - 1)) * error
    findings.figures = {
        "f1_micro_ours_mean": float(ours.mean()),
        "f1_micro_keras_mean": float(keras.mean()),
        "f1_micro_above_keras_mean": float(above.mean()),
        "f1_micro_above_keras_interval_low": float(above.mean()) - half,
        "f1_micro_above_keras_interval_high": float(above.mean()) + half,
        "peak_resident_mib": outcome.by_rank("peak_resident_mib")[0],
    }
    findings.bars += [
        Bar("f1_micro_above_keras_mean", -0.01, at_least=True),
        Bar("f1_micro_above_keras_interval_high", 0.0, at_least=True),
    ]
    findings.notes.append(
        "Micro-F1 on split test at threshold 0.5, of the network after the last epoch. The interval is that of "
        "Student's t over the differences by seed, 95 %."
    )
    return findings
