"""Number of GPUs of a node that the trainer's stream can feed, with steps that sleep as long as a GPU would work."""

import os

import numpy as np

from benchmarks.findings import Bar, Findings
from benchmarks.launch import UNBOUND, run_program
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.readers.stores import NAME, make_store
from benchmarks.setup import Setup
from etl.bands import SUPER_BANDS

__all__ = ["QUESTION", "measure"]

QUESTION = "How many GPUs of one node, of which speed, can read from the store and still be busy for 90 % of the time?"

_ROWS = {"tiny": 64, "laptop": 2048, "cluster": 65536}
_BATCH = {"tiny": 4, "laptop": 64, "cluster": 64}
_GPUS = {"tiny": (1, 2), "laptop": (1, 2, 4, 8), "cluster": (1, 2, 4, 8)}
_RATES = {"tiny": (194.0,), "laptop": (194.0, 1000.0, 3000.0), "cluster": (194.0, 1000.0, 3000.0)}
"""Patches per second of one GPU; 194 is the paper's V100."""
_SECONDS = {"tiny": 0.2, "laptop": 6.0, "cluster": 30.0}
_FED = 0.9
"""Share of the time for which a GPU must be busy to count as fed."""


def measure(setup: Setup) -> Findings:
    """Run each number of GPUs, with one worker per GPU, at all speeds."""
    size = setup.size
    findings = Findings(ranks=list(_GPUS[size]))
    store, numbers = setup.scratch / "store.h5", np.random.default_rng(0)
    make_store(store, numbers.integers(1, 10_000, (_ROWS[size], 120, 120, len(SUPER_BANDS)), np.uint16))
    findings.data = {"rows": _ROWS[size], "store_bytes": store.stat().st_size, "memory_bytes": memory_bytes()}
    findings.data |= {"scratch": disk_of(setup.scratch), "page_cache": "warm"}
    findings.layout = {"batch": _BATCH[size], "bands": "all", "cores": os.cpu_count()}
    job = {"path": str(store), "name": NAME, "batch": _BATCH[size], "rates": _RATES[size], "seconds": _SECONDS[size]}
    used: dict[float, dict[int, float]] = {rate: {} for rate in _RATES[size]}
    for gpus in findings.ranks:
        outcome, answers = run_program(setup, "feed", job, gpus, UNBOUND)
        for speed in answers[0]:
            findings.repeats.append({"gpus": gpus, **speed, "others_share": outcome.others_share})
            used[speed["rate"]][gpus] = speed["slept_s"] / speed["seconds"]
    for rate, by_gpus in used.items():
        for gpus, share in by_gpus.items():
            findings.figures[f"at_work_{gpus}_gpus_of_{rate:.0f}_patches_a_second_share"] = share
        fed = [gpus for gpus, share in by_gpus.items() if share >= _FED]
        findings.figures[f"gpus_fed_of_{rate:.0f}_patches_a_second_count"] = max(fed, default=0)
    findings.bars.append(Bar("gpus_fed_of_194_patches_a_second_count", findings.ranks[-1], at_least=True))
    findings.notes.append(
        "A worker sleeps for the time that a GPU of that speed would need for its batch, while the stream keeps "
        "reading. After each step all workers wait for each other. The share is time slept divided by time passed. At "
        "most 8 GPUs were tried."
    )
    return findings
