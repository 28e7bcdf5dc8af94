"""Rate of writing a store's rows as Zarr, compared with HDF5."""

import os
import tempfile
from pathlib import Path

from benchmarks.findings import Bar, Findings, median_of, put_ratio
from benchmarks.launch import UNBOUND, run_program
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.setup import Setup
from etl.schema import Schema

__all__ = ["QUESTION", "measure"]

QUESTION = "How much slower are a store's rows written as Zarr than as HDF5?"

_RANKS = {"tiny": (2,), "laptop": (1, 2), "cluster": (1, 36, 72)}
_SHARD_ROWS = {"tiny": 4, "laptop": 128, "cluster": 128}
_RUN_BYTES = {"tiny": 8 << 20, "laptop": 512 << 20, "cluster": 64 << 30}
_METHODS = ("hdf5_collective", "pwrite", "zarr_none", "zarr_zstd")


def measure(setup: Setup) -> Findings:
    """Run all methods of writing alternately in one run, at each number of ranks."""
    row_bytes, shard_rows = Schema(1).row_bytes, _SHARD_ROWS[setup.size]
    findings = Findings(ranks=list(_RANKS[setup.size]))
    findings.data = {"bytes_a_run": _RUN_BYTES[setup.size], "row_bytes": row_bytes, "memory_bytes": memory_bytes()}
    findings.data |= {"scratch": disk_of(setup.scratch), "page_cache": "each run ends with fsync"}
    findings.layout = {"shard_rows": shard_rows, "chunk_rows": 1, "cores": os.cpu_count()}
    for ranks in findings.ranks:
        _measure_writing(setup, findings, ranks)
    findings.notes += [
        "The pixels are noise of 13.3 bits per value, the worst case for zstd. Each round writes one shard per array. "
        "Times run from opening to closing, sync included.",
    ]
    return findings


def _measure_writing(setup: Setup, findings: Findings, ranks: int) -> None:
    shard_rows, needed = _SHARD_ROWS[setup.size], setup.times(2, 7)
    rounds = max(2, _RUN_BYTES[setup.size] // (ranks * shard_rows * Schema(1).row_bytes))
    job = {"rows": shard_rows, "rounds": rounds, "align_bytes": 1 << 20, "methods": _METHODS, "repeats": needed}
    job |= {"spare": setup.spares(needed)}
    with tempfile.TemporaryDirectory(prefix="zarr-", dir=setup.scratch) as folder:
        _, answers = run_program(setup, "rows", {**job, "path": str(Path(folder, "rows.h5"))}, ranks, UNBOUND)
    counted = []
    for by_rank in zip(*answers, strict=True):
        findings.repeats.append({"case": f"write_{ranks}_ranks", "rounds": rounds, **by_rank[0]})
        counted += [by_rank[0]] if by_rank[0].get("counted") else []
    seconds = {method: [repeat["seconds"][method] for repeat in counted] for method in _METHODS}
    mib = ranks * shard_rows * rounds * Schema(1).row_bytes / 2**20
    for kind in ("none", "zstd"):
        name = f"zarr_{kind}_over_hdf5_{ranks}_ranks"
        put_ratio(findings.figures, name, seconds["hdf5_collective"], seconds[f"zarr_{kind}"])
    put_ratio(findings.figures, f"zarr_none_over_pwrite_{ranks}_ranks", seconds["pwrite"], seconds["zarr_none"])
    for method in _METHODS:
        findings.figures[f"{method}_{ranks}_ranks_mib_per_second_median"] = mib / median_of(seconds[method])
    findings.figures[f"zstd_over_uncompressed_{ranks}_ranks_bytes_ratio"] = (
        counted[0]["mib"]["zarr_zstd"] / counted[0]["mib"]["zarr_none"]
    )
    findings.figures[f"others_cpu_share_largest_write_{ranks}_ranks"] = max(
        repeat["others_share"] for repeat in counted
    )
    findings.bars.append(Bar(f"zarr_none_over_hdf5_{ranks}_ranks_ratio_median", 0.7, at_least=True))
