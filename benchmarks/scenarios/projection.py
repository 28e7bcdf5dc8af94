"""How far the projection of `python -m benchmarks project` is off, and what it gives for 1, 10 and 100 archives."""

from collections.abc import Iterator

from benchmarks.findings import Bar, Findings
from benchmarks.model import fit_model
from benchmarks.projection.check import PAPER_GPUS_A_NODE, PAPER_S, compare_projection
from benchmarks.projection.jobs import ProjectedJob, Workload, project_chain
from benchmarks.projection.parts import PAPER_RATE, read_parts
from benchmarks.projection.site import Cluster, Hardware
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How far off is the projection on one and two ranks of this machine, and on the paper's epochs?"

_FITTED_NODES = (1, 2, 4)
_BATCH, _TRAIN_ROWS = Workload().batch, Workload().split[0]

_PAPER_CLUSTER = Cluster(
    "JUWELS",
    cpu_cores=48,
    gpu_cores=40,
    gpus=PAPER_GPUS_A_NODE,
    ranks_per_node={"extract": 36, "statistics": 16, "evaluate": PAPER_GPUS_A_NODE},
    hardware=Hardware(192, 5.0, 5.0, 100.0, 100.0, 25.0, "nodes as published in 2019; file system assumed"),
)
"""The paper's cluster, whose file system's rates are assumed. 72 ranks, as the paper used, take two nodes."""


def measure(setup: Setup) -> Findings:
    """Compare the projection with records and with the paper; nothing runs, whatever the size."""
    parts, findings = read_parts(), Findings(ranks=[1, 2])
    for item in compare_projection(parts):
        findings.repeats.append({"run": item.name, "projected_s": item.projected_s, "measured_s": item.measured_s})
        findings.figures[f"{item.name}_projected_over_measured_ratio"] = item.ratio
    _put_fit(findings)
    for times in (1, 10, 100):
        for job in project_chain(_PAPER_CLUSTER, parts, Workload(times), (2, 96), PAPER_RATE):
            findings.figures |= dict(_figures(job, times))
    findings.data = {"train_rows": _TRAIN_ROWS, "patches": Workload().patches, "products": Workload().products}
    findings.layout = {"batch": _BATCH, "size": setup.size}
    findings.notes.append(
        "Nothing ran. Archives of 1, 10 and 100 BigEarthNets: 2 nodes with 72 ranks extract, 96 GPUs as the paper's "
        "V100 train 100 epochs; links and file system are assumed."
    )
    return findings


def _put_fit(findings: Findings) -> None:
    """Fit a model of epochs to few nodes of the paper, and project the others with it."""
    steps = {nodes: _TRAIN_ROWS / (_BATCH * PAPER_GPUS_A_NODE * nodes) for nodes in PAPER_S}
    model = fit_model(_FITTED_NODES, [steps[n] for n in _FITTED_NODES], [PAPER_S[n] for n in _FITTED_NODES])
    ratios = {n: model.epoch_s(n, steps[n]) / seconds for n, seconds in PAPER_S.items() if n not in _FITTED_NODES}
    for nodes, ratio in ratios.items():
        findings.figures[f"paper_{nodes}_nodes_fitted_over_measured_ratio"] = ratio
    findings.figures["paper_largest_error_share"] = max(abs(ratio - 1) for ratio in ratios.values())
    findings.bars.append(Bar("paper_largest_error_share", 0.1))


def _figures(job: ProjectedJob, times: int) -> Iterator[tuple[str, float]]:
    yield f"archives_{times}_{job.name}_projected_seconds", job.seconds
    yield f"archives_{times}_{job.name}_projected_node_seconds", job.nodes * job.seconds
