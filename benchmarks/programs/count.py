"""`python -m benchmarks.programs.count JOB.json RESULT.json`: count the values of a store with limited memory.

The method "plain" is one loop with h5py and numpy on one core; "dask" is the pass of etl.stats. Both count the native
pixels by split and class, compute the same percentiles, and count the labels.
"""

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from benchmarks.memory_limit import limit_memory
from benchmarks.page_cache import resident_share
from etl.bands import GROUPS, SATURATED
from etl.schema import SPLITS, WRITTEN
from etl.stats.counting import count_store
from etl.stats.report import QUANTILES, count_labels
from etl.store.reader import StoreReader
from etl.store.sync import sync_and_drop_cache

__all__ = ["main"]

_BATCH_ROWS = 128

Percentiles = dict[str, npt.NDArray[np.float64]]


def count_plainly(path: Path) -> Percentiles:
    """Percentiles by pixel array, shape (group, band, share): one pass, batch by batch, row by row, band by band."""
    with h5py.File(path, "r") as file:
        rows = np.flatnonzero(file["state"][...] == WRITTEN)
        split, classes = file["split"][...], file["classes"][...]
        groups = len(SPLITS) + classes.shape[1]
        counts = {f"data_{g.name}": np.zeros((groups, len(g.bands), SATURATED + 1), np.int64) for g in GROUPS}
        for first in range(0, len(rows), _BATCH_ROWS):
            batch = rows[first : first + _BATCH_ROWS]
            for name, total in counts.items():
                pixels = file[name][batch[0] : batch[-1] + 1]
                for row in batch.tolist():
                    row_groups = [int(split[row]), *(len(SPLITS) + np.flatnonzero(classes[row])).tolist()]
                    for band in range(pixels.shape[-1]):
                        histogram = np.bincount(pixels[row - batch[0], ..., band].ravel())
                        for group in row_groups:
                            total[group, band, : len(histogram)] += histogram
        labels = classes[rows].astype(np.float64)
        labels.T @ labels
    return {name: _percentiles(total) for name, total in counts.items()}


def _percentiles(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    out = np.full((*counts.shape[:2], len(QUANTILES)), np.nan)
    for group, band in np.ndindex(counts.shape[:2]):
        cumulated = np.cumsum(counts[group, band, 1:SATURATED])
        if cumulated[-1]:
            out[group, band] = np.searchsorted(cumulated, np.maximum(np.ceil(QUANTILES * cumulated[-1]), 1)) + 1
    return out


def count_with_dask(path: Path, workers: int) -> Percentiles:
    """Percentiles by pixel array, computed by etl.stats on `workers` threads."""
    with StoreReader(path) as store:
        counts = count_store(store, workers, _BATCH_ROWS, scheduler="threads", num_workers=workers)
        count_labels(store)
    return {name: histograms.quantiles(QUANTILES) for name, histograms in counts.items()}


def main() -> None:
    """Count with the method that the job names."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    path = Path(job["store"])
    sync_and_drop_cache(path)
    answer: dict[str, Any] = {"resident_share": resident_share([path])}
    limit_memory(int(job["limit_bytes"]))
    start, cpu = time.perf_counter(), time.process_time()
    percentiles = count_plainly(path) if job["method"] == "plain" else count_with_dask(path, int(job["workers"]))
    answer |= {"seconds": time.perf_counter() - start, "cpu_s": time.process_time() - cpu}
    answer["answer"] = hashlib.sha256(b"".join(percentiles[name].tobytes() for name in sorted(percentiles))).hexdigest()
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
