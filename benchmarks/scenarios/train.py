"""A step of the trainer's loop against one of Keras's own `model.fit`: the same network, rows and order, one worker."""

import os
from typing import Any

from benchmarks.findings import Bar, Findings, least_disturbed, median_of, put_ratio
from benchmarks.launch import UNBOUND, ask
from benchmarks.page_cache import disk_of
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How much longer does a step of training take than one of a plain Keras model.fit, on one worker?"

_JOBS: dict[str, dict[str, Any]] = {
    "tiny": {"batch": 2, "steps": 3, "bands": "rgb"},
    "laptop": {"batch": 16, "steps": 14, "bands": "all"},
    "cluster": {"batch": 64, "steps": 30, "bands": "all"},
}
_PEERS = {"tiny": ("keras",), "laptop": ("keras", "keras_jit"), "cluster": ("keras", "keras_jit")}


def measure(setup: Setup) -> Findings:
    """ResNet-50 by our loop and by Keras's, without and with XLA, step by step in turn, in one process."""
    job = _JOBS[setup.size]
    found = Findings(ranks=[1])
    found.data = {"rows": job["batch"] * job["steps"], "scratch": disk_of(setup.scratch), "page_cache": "warm"}
    found.layout = {**job, "cores": os.cpu_count()}
    for peer in _PEERS[setup.size]:
        _measure_against(setup, found, peer)
    found.bars.append(Bar("step_over_keras_ratio_median", 1.0))
    found.notes.append(
        "Ours reads its rows from the store, Keras has them in memory. Each peer is measured in a process of its own: "
        "in one with both, our steps always came after those of XLA, and were 1 % longer for it. The last step of an "
        "epoch is left out: there the weights are looked at."
    )
    return found


def _measure_against(setup: Setup, found: Findings, peer: str) -> None:
    """Our steps and those of a peer, in turn."""
    kept = setup.times(1, 5)
    job = {**_JOBS[setup.size], "peer": peer, "repeats": kept + setup.spares(kept)}
    job["path"] = str(setup.scratch / f"{peer}.h5")
    outcome, repeats = ask(setup, "train", job, 1, UNBOUND)
    counted = [repeats[number] for number in least_disturbed([each["others_share"] for each in repeats], kept)]
    found.repeats += [{"peer": peer, **each, "counted": each in counted} for each in repeats]
    step_s, cpu_s = ({way: _all(counted, kind, way) for way in ("ours", peer)} for kind in ("step_s", "cpu_s"))
    put_ratio(found.figures, f"step_over_{peer}", step_s["ours"], step_s[peer])
    put_ratio(found.figures, f"step_cpu_over_{peer}_cpu", cpu_s["ours"], cpu_s[peer])
    for way, name in (("ours", f"ours_beside_{peer}"), (peer, peer)):
        found.figures[f"step_{name}_seconds_median"] = median_of(step_s[way])
        found.figures[f"step_{name}_seconds_min"] = min(step_s[way])
    waited = sum(sum(each["wait_s"]) for each in counted)
    found.figures[f"waiting_for_data_beside_{peer}_share"] = waited / sum(step_s["ours"])
    found.figures[f"others_cpu_share_largest_{peer}"] = max(each["others_share"] for each in counted)
    found.figures[f"peak_resident_{peer}_mib"] = outcome.of("peak_resident_mib")[0]


def _all(counted: list[dict[str, Any]], kind: str, way: str) -> list[float]:
    return [seconds for each in counted for seconds in each[kind][way]]
