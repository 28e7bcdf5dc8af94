"""Projection of the measured parts to more GPUs and ranks, by a model that is tested on the paper's own times."""

import json
from pathlib import Path
from typing import Any

from benchmarks.findings import Bar, Findings, Skipped
from benchmarks.model import Model, fit_model
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How long would an epoch take on 1 to 96 GPUs, and an extraction on 72 to 1,024 ranks?"

PAPER_S = {1: 347, 2: 172, 4: 86, 8: 42, 12: 27, 16: 20, 24: 15}
"""Seconds per epoch by number of nodes with four V100. Source: Sedona et al. 2019, figure 3."""

_FITTED_NODES = (1, 2, 4)
_GPUS_A_NODE = 4
_TRAIN_ROWS = 269_695
_BATCH = 64

_GRADIENT_BYTES = 4 * 23_600_000
"""Size of the gradients of ResNet-50 with twelve bands and 43 classes, float32."""
_LINK_BYTES_S = 10e9
"""Assumed bytes per second that a node sends: one link of 100 Gbit/s at four fifths of its speed."""

_GPUS = (1, 4, 8, 32, 96)
_RANKS = (72, 256, 1024)
_TILES, _PATCHES = 125, 519_339

_RECORDS = Path(__file__).resolve().parents[1] / "results"


def measure(setup: Setup) -> Findings:
    """Project the paper's epochs to test the model; then this project's, from the records of three scenarios."""
    findings = Findings(ranks=[1])
    _put_paper(findings)
    parts = {name: _figures(name) for name in ("extract", "balance", "loader")}
    _put_training(findings, parts["loader"])
    _put_extraction(findings, parts["extract"], parts["balance"])
    findings.data = {"train_rows": _TRAIN_ROWS, "patches": _PATCHES, "tiles": _TILES, "records": sorted(parts)}
    findings.layout = {"batch": _BATCH, "link_bytes_per_second": _LINK_BYTES_S, "gpu_patches_per_second": 194}
    findings.notes.append(
        "Nothing here was measured on a cluster. Assumed: GPUs as the paper's V100 (194 patches per second), links of "
        "10 GB/s, cores as in the records, and a file system that is not the limit."
    )
    return findings


def _put_paper(findings: Findings) -> None:
    steps = {nodes: _TRAIN_ROWS / (_BATCH * _GPUS_A_NODE * nodes) for nodes in PAPER_S}
    model = fit_model(_FITTED_NODES, [steps[n] for n in _FITTED_NODES], [PAPER_S[n] for n in _FITTED_NODES])
    largest = 0.0
    for nodes, seconds in PAPER_S.items():
        projected_s = model.epoch_s(nodes, steps[nodes])
        findings.repeats.append({"run": f"paper_{nodes}_nodes", "seconds": seconds, "projected_s": projected_s})
        if nodes not in _FITTED_NODES:
            findings.figures[f"paper_{nodes}_nodes_projected_over_measured_ratio"] = projected_s / seconds
            largest = max(largest, abs(projected_s / seconds - 1))
    findings.figures["paper_largest_error_share"] = largest
    findings.bars.append(Bar("paper_largest_error_share", 0.1))


def _put_training(findings: Findings, loader: dict[str, float]) -> None:
    """Project epochs from the speed of a V100, a ring all-reduce over links, and the rate of one node's stream."""
    model = Model(_TRAIN_ROWS / 194, 2 * _GRADIENT_BYTES / _LINK_BYTES_S, 0.0)
    read_s = 1 / loader["warm_ours_hdf5_patches_per_second_median"]
    for gpus in _GPUS:
        nodes = -(-gpus // _GPUS_A_NODE)
        epoch_s = model.epoch_s(gpus, _TRAIN_ROWS / (_BATCH * gpus))
        findings.figures[f"train_{gpus}_gpus_epoch_projected_seconds"] = max(epoch_s, _TRAIN_ROWS * read_s / nodes)
        findings.figures[f"train_{gpus}_gpus_efficiency_projected_share"] = _TRAIN_ROWS / 194 / gpus / epoch_s


def _put_extraction(findings: Findings, extract: dict[str, float], balance: dict[str, float]) -> None:
    """Project extractions from the CPU seconds of a full tile and the inefficiency of the plan."""
    core_s = _TILES * extract["extract_cpu_seconds_median_1_ranks"]
    for ranks in _RANKS:
        uneven = balance[f"inefficiency_all_work_cost_{ranks}_ranks"]
        findings.figures[f"extract_{ranks}_ranks_projected_seconds"] = core_s * uneven / ranks
        paper = balance[f"inefficiency_all_work_paper_{ranks}_ranks"]
        findings.figures[f"extract_algorithm_1_{ranks}_ranks_projected_seconds"] = core_s * paper / ranks


def _figures(name: str) -> dict[str, float]:
    path = _RECORDS / f"{name}.laptop.json"
    if not path.exists():
        raise Skipped(f"{path.name} must be there; python -m benchmarks {name} --size laptop makes it")
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    figures: dict[str, float] = record["figures"]
    return figures
