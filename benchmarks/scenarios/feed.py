"""How many GPUs of a node the trainer's stream feeds, with steps that sleep as long as a GPU would work."""

import os

import numpy as np

from benchmarks.findings import Bar, Findings
from benchmarks.launch import UNBOUND, ask
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.readers.stores import NAME, make_store
from benchmarks.setup import Setup
from etl.bands import SUPER_BANDS

__all__ = ["QUESTION", "measure"]

QUESTION = "How many GPUs of one node does the store feed, of which speed, at 90 % of their time at work?"

_ROWS = {"tiny": 64, "laptop": 2048, "cluster": 65536}
_BATCH = {"tiny": 4, "laptop": 64, "cluster": 64}
_GPUS = {"tiny": (1, 2), "laptop": (1, 2, 4, 8), "cluster": (1, 2, 4, 8)}
_RATES = {"tiny": (194.0,), "laptop": (194.0, 1000.0, 3000.0), "cluster": (194.0, 1000.0, 3000.0)}
"""Patches a second of one GPU; 194 is the paper's V100."""
_SECONDS = {"tiny": 0.2, "laptop": 6.0, "cluster": 30.0}
_FED = 0.9


def measure(setup: Setup) -> Findings:
    """Every number of GPUs in a run of its own, one worker each; in it every speed."""
    size = setup.size
    found = Findings(ranks=list(_GPUS[size]))
    store, numbers = setup.scratch / "store.h5", np.random.default_rng(0)
    make_store(store, numbers.integers(1, 10_000, (_ROWS[size], 120, 120, len(SUPER_BANDS)), np.uint16))
    found.data = {"rows": _ROWS[size], "store_bytes": store.stat().st_size, "memory_bytes": memory_bytes()}
    found.data |= {"scratch": disk_of(setup.scratch), "page_cache": "warm"}
    found.layout = {"batch": _BATCH[size], "bands": "all", "cores": os.cpu_count()}
    job = {"path": str(store), "name": NAME, "batch": _BATCH[size], "rates": _RATES[size], "seconds": _SECONDS[size]}
    used: dict[float, dict[int, float]] = {rate: {} for rate in _RATES[size]}
    for gpus in found.ranks:
        outcome, answers = ask(setup, "feed", job, gpus, UNBOUND)
        for each in answers[0]:
            found.repeats.append({"gpus": gpus, **each, "others_share": outcome.others_share})
            used[each["rate"]][gpus] = each["slept_s"] / each["seconds"]
    for rate, by_gpus in used.items():
        for gpus, share in by_gpus.items():
            found.figures[f"at_work_{gpus}_gpus_of_{rate:.0f}_patches_a_second_share"] = share
        fed = [gpus for gpus, share in by_gpus.items() if share >= _FED]
        found.figures[f"gpus_fed_of_{rate:.0f}_patches_a_second_count"] = max(fed, default=0)
    found.bars.append(Bar("gpus_fed_of_194_patches_a_second_count", found.ranks[-1], at_least=True))
    found.notes.append(
        "A worker sleeps for the time that a GPU of that speed would work on its batch, while the stream reads on; all "
        "workers meet after each step. The share is time slept over time passed; 8 GPUs are the most that were tried."
    )
    return found
