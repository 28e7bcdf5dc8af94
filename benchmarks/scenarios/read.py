"""Raw rows of a store, one by one: sequential and random, from memory and from the disk, against a plain copy."""

import os

import numpy as np

from benchmarks.findings import Findings, median_of, put_ratio
from benchmarks.launch import UNBOUND, ask
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.readers.stores import make_store
from benchmarks.setup import Setup
from etl.bands import SUPER_BANDS

__all__ = ["QUESTION", "measure"]

QUESTION = "How fast are a store's rows read by one thread, in order and at random, from memory and from the disk?"

_ROWS = {"tiny": 16, "laptop": 2048, "cluster": 65536}
_ROW_SHAPE = (120, 120, len(SUPER_BANDS))


def measure(setup: Setup) -> Findings:
    """Every way, order and state of the page cache in turn, in one process."""
    rows, path = _ROWS[setup.size], setup.scratch / "store.h5"
    make_store(path, np.random.default_rng(0).integers(1, 10_000, (rows, *_ROW_SHAPE), np.uint16))
    found = Findings(ranks=[1])
    found.data = {"rows": rows, "row_bytes": 2 * int(np.prod(_ROW_SHAPE)), "memory_bytes": memory_bytes()}
    found.data |= {"scratch": disk_of(setup.scratch)}
    found.layout = {"align_bytes": 1 << 20, "cores": os.cpu_count()}
    job = {"path": str(path), "rows": rows, "row_shape": _ROW_SHAPE, "repeats": setup.times(1, 5)}
    _, found.repeats = ask(setup, "raw", job, 1, UNBOUND)
    seconds: dict[str, list[float]] = {}
    for each in found.repeats:
        seconds.setdefault(each["run"], []).append(each["seconds"])
    mib = rows * found.data["row_bytes"] / 2**20
    for name, took in seconds.items():
        found.figures[f"{name}_mib_per_second_median"] = mib / median_of(took)
        if name.endswith("_random_warm"):
            put_ratio(found.figures, f"{name}_over_copy", seconds["copied"], took)
    found.notes.append(
        "Rows of twelve bands into one buffer that is there already, by one thread; cold: the store's pages are let go "
        "of before each pass. What a virtual disk's host holds in its own memory is not let go of."
    )
    return found
