"""A step of the trainer's loop against one of Keras's own `model.fit`: the same network, rows and order, one worker."""

import json
import os
from typing import Any

from benchmarks.findings import Bar, Findings, least_disturbed, median_of, put_ratio
from benchmarks.launch import UNBOUND, Job, run
from benchmarks.page_cache import disk_of
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How much longer does a step of training take than one of a plain Keras model.fit, on one worker?"

_JOBS: dict[str, dict[str, Any]] = {
    "tiny": {"batch": 2, "steps": 3, "bands": "rgb", "peers": ["keras"]},
    "laptop": {"batch": 16, "steps": 8, "bands": "all", "peers": ["keras", "keras_jit"]},
    "cluster": {"batch": 64, "steps": 30, "bands": "all", "peers": ["keras", "keras_jit"]},
}


def measure(setup: Setup) -> Findings:
    """ResNet-50 by our loop and by Keras's, without and with XLA, step by step in turn, in one process."""
    kept = setup.times(1, 5)
    job = {**_JOBS[setup.size], "repeats": kept + setup.spares(kept), "path": str(setup.scratch / "store.h5")}
    asked, answer = setup.scratch / "job.json", setup.scratch / "result.json"
    asked.write_text(json.dumps(job), encoding="utf-8")
    outcome = run(setup, Job("benchmarks.programs.train", (str(asked), str(answer)), 1, UNBOUND))
    repeats = json.loads(answer.read_text(encoding="utf-8"))
    counted = [repeats[number] for number in least_disturbed([each["others_share"] for each in repeats], kept)]
    found = Findings(ranks=[1], repeats=[{**each, "counted": each in counted} for each in repeats])
    found.data = {"rows": job["batch"] * job["steps"], "scratch": disk_of(setup.scratch), "page_cache": "warm"}
    found.layout = {**job, "cores": os.cpu_count()}
    _put(found, job, counted)
    found.figures["peak_resident_mib"] = outcome.of("peak_resident_mib")[0]
    found.bars.append(Bar("step_over_keras_ratio_median", 1.0))
    found.notes.append(
        "Ours reads its rows from the store, Keras has them in memory. Neither is compiled by XLA, but for keras_jit."
    )
    return found


def _put(found: Findings, job: dict[str, Any], counted: list[dict[str, Any]]) -> None:
    """Figures of the repeats that count: each of our steps against the peer's next one."""
    ways = ("ours", *job["peers"])
    step_s, cpu_s = ({way: _all(counted, kind, way) for way in ways} for kind in ("step_s", "cpu_s"))
    for way in job["peers"]:
        put_ratio(found.figures, f"step_over_{way}", step_s["ours"], step_s[way])
        put_ratio(found.figures, f"step_cpu_over_{way}_cpu", cpu_s["ours"], cpu_s[way])
    for way in ways:
        found.figures[f"step_{way}_seconds_median"] = median_of(step_s[way])
        found.figures[f"step_{way}_seconds_min"] = min(step_s[way])
    found.figures["waiting_for_data_share"] = sum(sum(each["wait_s"]) for each in counted) / sum(step_s["ours"])
    found.figures["ours_patches_per_second_median"] = job["batch"] / found.figures["step_ours_seconds_median"]
    found.figures["others_cpu_share_largest"] = max(each["others_share"] for each in counted)


def _all(counted: list[dict[str, Any]], kind: str, way: str) -> list[float]:
    return [seconds for each in counted for seconds in each[kind][way]]
