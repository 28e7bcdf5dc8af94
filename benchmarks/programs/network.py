"""`python -m benchmarks.programs.network JOB.json RESULT.json`: DSen2's networks alone, on windows that are ready.

JOB holds `product`, `cells` (row j, column i of each patch), `weights` (a folder), `precision` and `threads`, the
windows at once. All ranks share the patches; RESULT becomes one object a rank.
"""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.programs.world import in_step, world, write_result
from etl.mpi import local_rank
from etl.plan.work import Block, PatchRange, ProductPatches, RankWork
from etl.raster import configure
from etl.source.block import BlockData
from etl.source.patch import PatchError
from etl.source.safe import read_product
from etl.source.tiles import TilePatches, layers_of
from etl.upsample.dsen2 import DSen2, configure_tensorflow, network_inputs
from etl.upsample.method import PROCESSING_LEVEL
from etl.upsample.weights import read_networks

__all__ = ["main"]


def main() -> None:
    """Collective: run the networks on what the job names; decoding and the first, slower, call are not timed."""
    comm = world()
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    device = configure_tensorflow(job["threads"], local_rank(comm))
    way = DSen2(read_networks(Path(job["weights"]), PROCESSING_LEVEL), job["precision"])
    first, stop = (len(job["cells"]) * k // comm.size for k in (comm.rank, comm.rank + 1))
    seen = _windows(Path(job["product"]), np.array(job["cells"][first:stop], np.intp).reshape(-1, 2), way)
    mine: dict[str, Any] = {"blocks": [], "device": device.name}
    for each in seen[:1]:
        way.fine(each)

    def work() -> None:
        start, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(device.windows) as pool:
            for _ in pool.map(way.fine, seen):
                pass
        mine["own_s"], mine["cpu_s"] = time.perf_counter() - start, time.process_time() - cpu

    mine["slowest_s"] = in_step(comm, work)
    write_result(comm, Path(sys.argv[2]), mine)


def _windows(path: Path, cells: "np.ndarray[Any, np.dtype[np.intp]]", way: DSen2) -> list[Any]:
    """What the networks see of each patch."""
    configure()
    product = read_product(path)
    patches = ProductPatches(np.arange(len(cells)), cells[:, 0], cells[:, 1], layers_of(product, way.halo_px))
    work = RankWork(patches=[PatchRange(0, 0, len(cells))])
    out = []
    for row, patch in TilePatches(work, {0: patches}, {0: product}, _NoOtherRank()).patches():
        if isinstance(patch, PatchError):
            raise SystemExit(f"patch {row} of {path}: {patch}")
        out.append(network_inputs([window.transpose(1, 2, 0) for window in patch.native], way.geometry))
    return out


class _NoOtherRank:
    """A `BlockReceiver` for ranks that decode all their blocks themselves."""

    def take_arrived(self, block: Block) -> BlockData | None:
        raise RuntimeError(f"every rank decodes for itself, got {block} to wait for")

    def wait_for(self, block: Block) -> BlockData:
        raise RuntimeError(f"every rank decodes for itself, got {block} to wait for")


if __name__ == "__main__":
    main()
