"""`python -m benchmarks.programs.bytes JOB.json RESULT.json`: write and sync as many bytes as a store has.

This is the cost of disk and kernel for any writer. All ranks write to one new file, each its own part, and drop written
pages from the page cache as extraction does.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.programs.world import time_slowest, world, write_result
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
    result: dict[str, Any] = {"blocks": []}
    if comm.rank == 0:
        with path.open("wb") as file:
            file.truncate(total)
    first, stop = (total * k // comm.size for k in (comm.rank, comm.rank + 1))

    def work() -> None:
        start, cpu = time.perf_counter(), time.process_time()
        _write(path, first, stop, piece)
        result["own_s"], result["cpu_s"] = time.perf_counter() - start, time.process_time() - cpu

    result["slowest_s"] = time_slowest(comm, work)
    comm.Barrier()
    if comm.rank == 0:
        path.unlink()
    write_result(comm, Path(sys.argv[2]), result)


if __name__ == "__main__":
    main()
