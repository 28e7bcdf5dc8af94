"""Scores of a short training on unseen patches, compared with a logistic regression on the means of their bands.

Whether all bands score significantly higher than RGB is decided by the 95 % interval of the difference, estimated by
resampling the test patches (paired bootstrap).
"""

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from benchmarks.baselines import read_band_means, score_regression
from benchmarks.findings import Bar, Findings
from benchmarks.inputs import make_labelled_tiles
from benchmarks.setup import Setup
from benchmarks.training import THRESHOLD_KINDS, TrainingLength, command, put_f1, train

__all__ = ["QUESTION", "measure"]

QUESTION = "Does a short training learn more than a patch's mean colours show, and does it gain from bands beyond RGB?"

_BANDS = ("all", "rgb")
_RESAMPLED = 2000
"""Number of bootstrap samples of the test patches."""

_LENGTHS = {
    "tiny": TrainingLength(2, 4, 1, "float32"),
    "laptop": TrainingLength(900, 32, 3, "bfloat16"),
    "cluster": TrainingLength(6000, 32, 10, "bfloat16"),
}
_TILES = {"tiny": (2, 1200), "laptop": (6, 3600), "cluster": (6, 3600)}
"""Number of tiles and their side in pixels: 200 and 5,398 patches."""


def measure(setup: Setup) -> Findings:
    """Extract a sample, train on all bands and on RGB, and score both networks and the regression on split test."""
    source, length, store = (
        make_labelled_tiles(setup, *_TILES[setup.size]),
        _LENGTHS[setup.size],
        setup.scratch / "store.h5",
    )
    counts: dict[str, dict[str, Counts]] = {}
    findings = Findings(ranks=[1], layout={"trainer.run": " ".join(length.flags), "cores": os.cpu_count()})
    paths = ("--catalogue", str(source.catalogue), "--source", str(source.source), "--out", str(store))
    command(setup, findings, "etl.extract", paths)
    splits = read_band_means(store)
    findings.data = {f"rows_{name}": len(rows) for name, rows in splits.items()}
    reached = {"logistic": score_regression(splits)}
    for bands in _BANDS:
        out = setup.scratch / bands
        reached[bands] = train(setup, findings, (store, out), bands, length)
        flags = ("--run", str(out), "--store", str(store), "--split", "test", "--out", str(out / "test.parquet"))
        command(setup, findings, "trainer.predict", flags)
        counts[bands] = _counts(store, out, reached[bands])
    report = setup.scratch / "report"
    command(
        setup, findings, "trainer.report", (*(str(setup.scratch / bands) for bands in _BANDS), "--out", str(report))
    )
    findings.keep = [report / "report.html", report / "f1_by_class.png"]
    _put(findings, reached)
    _put_interval(findings, counts)
    return findings


Counts = npt.NDArray[np.int64]
"""(row, 3): true positives, false positives and false negatives of each row, over all classes."""


def _counts(store: Path, out: Path, scored: dict[str, Any]) -> dict[str, Counts]:
    """Counts for the test patches, in the order of their names, by kind of threshold."""
    predicted = pq.read_table(out / "test.parquet").sort_by("patch")
    with h5py.File(store, "r") as file:
        names, labels = file["patch"][...].astype(str), file["classes"][...].astype(bool)
    row_of = {name: row for row, name in enumerate(names)}
    labels = labels[[row_of[name] for name in predicted["patch"].to_pylist()]]
    counts = {}
    for kind in THRESHOLD_KINDS:
        classes = scored[kind]["classes"]
        positive = np.stack(
            [predicted[scores["name"]].to_numpy() >= np.float32(scores["threshold"]) for scores in classes], 1
        )
        counts[kind] = np.stack(
            [(positive & labels).sum(1), (positive & ~labels).sum(1), (~positive & labels).sum(1)], 1
        )
    return counts


def _put_interval(findings: Findings, counts: dict[str, dict[str, Counts]]) -> None:
    """Add the 95 % interval of the micro-F1 of all bands minus that of RGB."""
    rows = len(counts["all"][THRESHOLD_KINDS[0]])
    drawn = np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), _RESAMPLED)
    for kind in THRESHOLD_KINDS:
        above = _f1(drawn @ counts["all"][kind]) - _f1(drawn @ counts["rgb"][kind])
        for name, value in zip(("low", "high"), np.quantile(above, (0.025, 0.975)), strict=True):
            findings.figures[f"f1_micro_all_above_rgb_{kind}_interval_{name}"] = float(value)
        findings.bars.append(Bar(f"f1_micro_all_above_rgb_{kind}_interval_low", 0.0, at_least=True))


def _f1(totals: Counts) -> npt.NDArray[np.float64]:
    """Micro-F1 from totals, shape (..., 3)."""
    hits, wrong, missed = np.moveaxis(totals, -1, 0)
    share: npt.NDArray[np.float64] = 2 * hits / np.maximum(2 * hits + wrong + missed, 1)
    return share


def _put(findings: Findings, reached: dict[str, dict[str, Any]]) -> None:
    for name, kinds in reached.items():
        put_f1(findings.figures, name, kinds)
    for kind in THRESHOLD_KINDS:
        of = {name: findings.figures[f"f1_micro_{name}_{kind}"] for name in reached}
        findings.figures[f"f1_micro_all_above_logistic_{kind}"] = of["all"] - of["logistic"]
        findings.figures[f"f1_micro_all_above_rgb_{kind}"] = of["all"] - of["rgb"]
        findings.bars.append(Bar(f"f1_micro_all_above_logistic_{kind}", 0.05, at_least=True))
    findings.notes.append(
        "Scores on split test over all classes of the store. Tuned: thresholds chosen for each class on split val, "
        "also for the regression. The regression is trained on the same rows as the networks, on the means of the "
        "twelve bands."
    )
