"""Rate of reading a store's rows one by one, in order and at random, cached and from disk, compared with a copy."""

import os

import numpy as np

from benchmarks.findings import Findings, median_of, put_ratio
from benchmarks.launch import UNBOUND, run_program
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.readers.stores import make_store
from benchmarks.setup import Setup
from etl.bands import SUPER_BANDS

__all__ = ["QUESTION", "measure"]

QUESTION = "How fast does one thread read a store's rows, in order and at random, from memory and from the disk?"

_ROWS = {"tiny": 16, "laptop": 2048, "cluster": 65536}
_ROW_SHAPE = (120, 120, len(SUPER_BANDS))


def measure(setup: Setup) -> Findings:
    """Run all methods, orders and states of the page cache alternately, in one process."""
    rows, path = _ROWS[setup.size], setup.scratch / "store.h5"
    make_store(path, np.random.default_rng(0).integers(1, 10_000, (rows, *_ROW_SHAPE), np.uint16))
    findings = Findings(ranks=[1])
    findings.data = {"rows": rows, "row_bytes": 2 * int(np.prod(_ROW_SHAPE)), "memory_bytes": memory_bytes()}
    findings.data |= {"scratch": disk_of(setup.scratch)}
    findings.layout = {"align_bytes": 1 << 20, "cores": os.cpu_count()}
    job = {"path": str(path), "rows": rows, "row_shape": _ROW_SHAPE, "repeats": setup.times(1, 5)}
    _, findings.repeats = run_program(setup, "raw", job, 1, UNBOUND)
    seconds: dict[str, list[float]] = {}
    for run in findings.repeats:
        seconds.setdefault(run["run"], []).append(run["seconds"])
    mib = rows * findings.data["row_bytes"] / 2**20
    for name, took in seconds.items():
        findings.figures[f"{name}_mib_per_second_median"] = mib / median_of(took)
        if name.endswith("_random_warm"):
            put_ratio(findings.figures, f"{name}_over_copy", seconds["copied"], took)
    findings.notes.append(
        "One thread reads rows of twelve bands into one reused buffer. Cold: the store is dropped from the page cache "
        "before each pass. If the disk is virtual, its host may still have the data in memory."
    )
    return findings
