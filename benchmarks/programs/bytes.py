"""`python -m benchmarks.programs.bytes JOB.json RESULT.json`: as many bytes as a store has, written plainly and synced.

What the disk and the kernel ask for them, whoever writes; given up from memory as extraction does. All ranks write one
fresh file, each a part of its own.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.programs.world import in_step, world, write_result
from etl.store.sync import WriteBehind

__all__ = ["main"]

_PIECE_BYTES = 64 << 20


def _write(path: Path, first: int, stop: int, piece: memoryview) -> None:
    handle = os.open(path, os.O_WRONLY)
    behind = WriteBehind(handle)
    while first < stop:
        done = os.pwrite(handle, piece[: stop - first], first)
        behind.add(first, done)
        first += done
    behind.sync()
    os.close(handle)


def main() -> None:
    """Collective: write the bytes, and remove them."""
    comm = world()
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    path, total = Path(job["path"]), int(job["bytes"])
    piece = memoryview(np.random.default_rng(0).integers(0, 256, _PIECE_BYTES, np.uint8))
    mine: dict[str, Any] = {"blocks": []}
    if comm.rank == 0:
        with path.open("wb") as file:
            file.truncate(total)
    first, stop = (total * k // comm.size for k in (comm.rank, comm.rank + 1))

    def work() -> None:
        start, cpu = time.perf_counter(), time.process_time()
        _write(path, first, stop, piece)
        mine["own_s"], mine["cpu_s"] = time.perf_counter() - start, time.process_time() - cpu

    mine["slowest_s"] = in_step(comm, work)
    comm.Barrier()
    if comm.rank == 0:
        path.unlink()
    write_result(comm, Path(sys.argv[2]), mine)


if __name__ == "__main__":
    main()
