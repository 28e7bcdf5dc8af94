"""`python -m benchmarks.programs.network JOB.json RESULT.json`: run DSen2's networks alone, on windows in memory.

JOB has `product`, `cells` (row and column of each patch), `weights` (a folder), `precision` and `threads` (windows at
the same time). The patches are divided among the ranks; RESULT has one object per rank.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.programs.world import time_slowest, world, write_result
from etl.mpi import local_rank
from etl.plan.work import Block, PatchRange, ProductPatches, RankWork
from etl.raster import configure
from etl.source.block import BlockData
from etl.source.open_product import read_product
from etl.source.patch import PatchError
from etl.source.tiles import TilePatches, layers_of
from etl.upsample.dsen2 import DSen2, configure_tensorflow, network_inputs
from etl.upsample.method import PROCESSING_LEVEL
from etl.upsample.weights import read_networks

__all__ = ["main"]


def main() -> None:
    """Collective: time the networks on the patches of the job, without decoding and the first, slower, call."""
    comm = world()
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    device = configure_tensorflow(job["threads"], local_rank(comm))
    dsen2 = DSen2(read_networks(Path(job["weights"]), PROCESSING_LEVEL), job["precision"])
    first, stop = (len(job["cells"]) * k // comm.size for k in (comm.rank, comm.rank + 1))
    windows = _windows(Path(job["product"]), np.array(job["cells"][first:stop], np.intp).reshape(-1, 2), dsen2)
    result: dict[str, Any] = {"blocks": [], "device": device.name}
    for window in windows[:1]:
        dsen2.fine(window)

    def work() -> None:
        start, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(device.windows) as pool:
            for _ in pool.map(dsen2.fine, windows):
                pass
        result["own_s"], result["cpu_s"] = time.perf_counter() - start, time.process_time() - cpu

    result["slowest_s"] = time_slowest(comm, work)
    write_result(comm, Path(sys.argv[2]), result)


def _windows(path: Path, cells: "np.ndarray[Any, np.dtype[np.intp]]", dsen2: DSen2) -> list[Any]:
    """What the networks see of each patch."""
    configure()
    product = read_product(path)
    patches = ProductPatches(np.arange(len(cells)), cells[:, 0], cells[:, 1], layers_of(product, dsen2.halo_px).layers)
    work = RankWork(patches=[PatchRange(0, 0, len(cells))])
    out = []
    for row, patch in TilePatches(work, {0: patches}, {0: product}, _NoOtherRank()).patches():
        if isinstance(patch, PatchError):
            raise SystemExit(f"patch {row} of {path}: {patch}")
        out.append(network_inputs([window.transpose(1, 2, 0) for window in patch.native], dsen2.geometry))
    return out


class _NoOtherRank:
    """A `BlockReceiver` for ranks that decode all their blocks themselves."""

    def take_arrived(self, block: Block) -> BlockData | None:
        raise RuntimeError(f"every rank decodes for itself, got {block} to wait for")

    def wait_for(self, block: Block) -> BlockData:
        raise RuntimeError(f"every rank decodes for itself, got {block} to wait for")


if __name__ == "__main__":
    main()
