"""`python -m benchmarks.programs.raw JOB.json RESULT.json`: read a store's rows one by one into the same buffer."""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.machine import Moment, others_share
from benchmarks.readers.stores import NAME
from etl.store.sync import sync_and_drop_cache

__all__ = ["main"]

Read = Callable[[int], Any]


def _preadv(path: Path, out: npt.NDArray[np.uint16]) -> Read:
    with h5py.File(path, "r") as file:
        offset = file[NAME].id.get_offset()
    handle, view = os.open(path, os.O_RDONLY), memoryview(out).cast("B")
    return lambda row: os.preadv(handle, [view], offset + row * out.nbytes)


def _h5py(path: Path, out: npt.NDArray[np.uint16]) -> Read:
    array = h5py.File(path, "r")[NAME]
    return lambda row: array.read_direct(out, np.s_[row])


def _mapped(path: Path, out: npt.NDArray[np.uint16]) -> Read:
    with h5py.File(path, "r") as file:
        offset, shape = file[NAME].id.get_offset(), file[NAME].shape
    rows = np.memmap(path, np.uint16, "r", offset, shape)
    return lambda row: np.copyto(out, rows[row])


_METHODS: dict[str, Callable[[Path, npt.NDArray[np.uint16]], Read]] = {
    "preadv": _preadv,
    "h5py": _h5py,
    "mapped": _mapped,
}


def _pass(job: dict[str, Any], method: str, order: npt.NDArray[np.int64], cold: bool) -> dict[str, float]:
    path, out = Path(job["path"]), np.ones(job["row_shape"], np.uint16)
    if cold:
        sync_and_drop_cache(path)
    read = _METHODS[method](path, out)
    before, cpu_s, start = Moment.now(), time.process_time(), time.perf_counter()
    for row in order.tolist():
        read(row)
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_s
    return {"seconds": seconds, "cpu_s": cpu_s, "others_share": others_share(before, Moment.now(), cpu_s)}


def _copied(job: dict[str, Any], order: npt.NDArray[np.int64]) -> dict[str, float]:
    """Time copying the same rows from memory that is already allocated."""
    with h5py.File(job["path"], "r") as file:
        rows = file[NAME][...]
    out = np.ones(job["row_shape"], np.uint16)
    start = time.perf_counter()
    for row in order.tolist():
        out[...] = rows[row]
    return {"seconds": time.perf_counter() - start}


def main() -> None:
    """Read as the job says."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sequence = np.arange(job["rows"])
    orders = {"sequential": sequence, "random": np.random.default_rng(0).permutation(sequence)}
    runs = []
    for repeat in range(job["repeats"]):
        methods = [(method, kind, cold) for method in _METHODS for kind in orders for cold in (False, True)]
        for method, kind, cold in methods[::-1] if repeat % 2 else methods:
            took = _pass(job, method, orders[kind], cold)
            runs.append({"run": f"{method}_{kind}_{'cold' if cold else 'warm'}", "repeat": repeat, **took})
        runs.append({"run": "copied", "repeat": repeat, **_copied(job, orders["random"])})
    Path(sys.argv[2]).write_text(json.dumps(runs), encoding="utf-8")


if __name__ == "__main__":
    main()
