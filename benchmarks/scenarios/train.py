"""Time of a training step, compared with one of Keras's `model.fit`: same network, rows and order, one worker."""

import os
from typing import Any

from benchmarks.findings import Bar, Findings, least_disturbed, median_of, put_ratio
from benchmarks.launch import UNBOUND, run_program
from benchmarks.page_cache import disk_of
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How much longer does a training step take than one of Keras's model.fit, on one worker?"

_JOBS: dict[str, dict[str, Any]] = {
    "tiny": {"batch": 2, "steps": 3, "bands": "rgb"},
    "laptop": {"batch": 16, "steps": 14, "bands": "all"},
    "cluster": {"batch": 64, "steps": 30, "bands": "all"},
}
_PEERS = {"tiny": ("keras",), "laptop": ("keras", "keras_jit"), "cluster": ("keras", "keras_jit")}


def measure(setup: Setup) -> Findings:
    """Train ResNet-50 by the trainer's loop and by Keras's, without and with XLA, alternating after each step."""
    job = _JOBS[setup.size]
    findings = Findings(ranks=[1])
    findings.data = {"rows": job["batch"] * job["steps"], "scratch": disk_of(setup.scratch), "page_cache": "warm"}
    findings.layout = {**job, "cores": os.cpu_count()}
    for peer in _PEERS[setup.size]:
        _measure_against(setup, findings, peer)
    findings.bars.append(Bar("step_over_keras_ratio_median", 1.0))
    findings.notes.append(
        "The trainer reads its rows from the store, Keras has them in memory. Each peer is measured in a process of "
        "its own: with both in one process, the trainer's steps always followed those of XLA and were 1 % longer. The "
        "last step of an epoch is left out, because the trainer then also checks the weights."
    )
    return findings


def _measure_against(setup: Setup, findings: Findings, peer: str) -> None:
    """Measure steps of the trainer and of a peer alternately."""
    needed = setup.times(1, 5)
    job = {**_JOBS[setup.size], "peer": peer, "repeats": needed + setup.spares(needed)}
    job["path"] = str(setup.scratch / f"{peer}.h5")
    outcome, repeats = run_program(setup, "train", job, 1, UNBOUND)
    counted = [repeats[number] for number in least_disturbed([repeat["others_share"] for repeat in repeats], needed)]
    findings.repeats += [{"peer": peer, **repeat, "counted": repeat in counted} for repeat in repeats]
    step_s, cpu_s = ({loop: _all(counted, kind, loop) for loop in ("ours", peer)} for kind in ("step_s", "cpu_s"))
    put_ratio(findings.figures, f"step_over_{peer}", step_s["ours"], step_s[peer])
    put_ratio(findings.figures, f"step_cpu_over_{peer}_cpu", cpu_s["ours"], cpu_s[peer])
    for loop, name in (("ours", f"ours_beside_{peer}"), (peer, peer)):
        findings.figures[f"step_{name}_seconds_median"] = median_of(step_s[loop])
        findings.figures[f"step_{name}_seconds_min"] = min(step_s[loop])
    waited = sum(sum(repeat["wait_s"]) for repeat in counted)
    findings.figures[f"waiting_for_data_beside_{peer}_share"] = waited / sum(step_s["ours"])
    findings.figures[f"others_cpu_share_largest_{peer}"] = max(repeat["others_share"] for repeat in counted)
    findings.figures[f"peak_resident_{peer}_mib"] = outcome.by_rank("peak_resident_mib")[0]


def _all(counted: list[dict[str, Any]], kind: str, loop: str) -> list[float]:
    return [seconds for repeat in counted for seconds in repeat[kind][loop]]
