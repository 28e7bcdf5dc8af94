"""The store's rows written as Zarr against HDF5."""

import os
import tempfile
from pathlib import Path

from benchmarks.findings import Bar, Findings, median_of, put_ratio
from benchmarks.launch import UNBOUND, ask
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.setup import Setup
from etl.schema import Schema

__all__ = ["QUESTION", "measure"]

QUESTION = "What does Zarr cost over HDF5 when the store's rows are written?"

_RANKS = {"tiny": (2,), "laptop": (1, 2), "cluster": (1, 36, 72)}
_SHARD_ROWS = {"tiny": 4, "laptop": 128, "cluster": 128}
_RUN_BYTES = {"tiny": 8 << 20, "laptop": 512 << 20, "cluster": 64 << 30}
_WAYS = ("hdf5_collective", "pwrite", "zarr_none", "zarr_zstd")


def measure(setup: Setup) -> Findings:
    """Every way of writing interleaved in one run at each number of ranks."""
    row_bytes, shard_rows = Schema(1).row_bytes, _SHARD_ROWS[setup.size]
    found = Findings(ranks=list(_RANKS[setup.size]))
    found.data = {"bytes_a_run": _RUN_BYTES[setup.size], "row_bytes": row_bytes, "memory_bytes": memory_bytes()}
    found.data |= {"scratch": disk_of(setup.scratch), "page_cache": "each run ends with fsync"}
    found.layout = {"shard_rows": shard_rows, "chunk_rows": 1, "cores": os.cpu_count()}
    for ranks in found.ranks:
        _measure_writing(setup, found, ranks)
    found.notes += [
        "Writing: noise of 13.3 bits a value, the worst case for zstd; one shard a round and array; from opening to "
        "closing, synced.",
    ]
    return found


def _measure_writing(setup: Setup, found: Findings, ranks: int) -> None:
    shard_rows, kept = _SHARD_ROWS[setup.size], setup.times(2, 7)
    rounds = max(2, _RUN_BYTES[setup.size] // (ranks * shard_rows * Schema(1).row_bytes))
    job = {"rows": shard_rows, "rounds": rounds, "align_bytes": 1 << 20, "ways": _WAYS, "repeats": kept}
    job |= {"spare": setup.spares(kept)}
    with tempfile.TemporaryDirectory(prefix="zarr-", dir=setup.scratch) as folder:
        _, answers = ask(setup, "rows", {**job, "path": str(Path(folder, "rows.h5"))}, ranks, UNBOUND)
    counted = []
    for each in zip(*answers, strict=True):
        found.repeats.append({"case": f"write_{ranks}_ranks", "rounds": rounds, **each[0]})
        counted += [each[0]] if each[0].get("counted") else []
    seconds = {way: [each["seconds"][way] for each in counted] for way in _WAYS}
    mib = ranks * shard_rows * rounds * Schema(1).row_bytes / 2**20
    for kind in ("none", "zstd"):
        name = f"zarr_{kind}_over_hdf5_{ranks}_ranks"
        put_ratio(found.figures, name, seconds["hdf5_collective"], seconds[f"zarr_{kind}"])
    put_ratio(found.figures, f"zarr_none_over_pwrite_{ranks}_ranks", seconds["pwrite"], seconds["zarr_none"])
    for way in _WAYS:
        found.figures[f"{way}_{ranks}_ranks_mib_per_second_median"] = mib / median_of(seconds[way])
    found.figures[f"zstd_over_uncompressed_{ranks}_ranks_bytes_ratio"] = (
        counted[0]["mib"]["zarr_zstd"] / counted[0]["mib"]["zarr_none"]
    )
    found.figures[f"others_cpu_share_largest_write_{ranks}_ranks"] = max(each["others_share"] for each in counted)
    found.bars.append(Bar(f"zarr_none_over_hdf5_{ranks}_ranks_ratio_median", 0.7, at_least=True))
