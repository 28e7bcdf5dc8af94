"""`python -m benchmarks.programs.read JOB.json RESULT.json`: a bare GDAL loop over blocks or patches.

JOB holds `files` (layer, path, windows to decode) or `folders` (of patches). All ranks share them; RESULT
becomes one object a rank.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.programs.gdal import decode_blocks, read_patches
from benchmarks.programs.world import in_step, world, write_result

__all__ = ["main"]


def main() -> None:
    """Collective: read what the job names."""
    comm = world()
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    mine: dict[str, Any] = {"blocks": []}

    def work() -> None:
        start, cpu = time.perf_counter(), time.process_time()
        if "files" in job:
            mine["blocks"] = decode_blocks(job["files"], comm.rank, comm.size)
        else:
            folders = job["folders"]
            first, stop = (len(folders) * k // comm.size for k in (comm.rank, comm.rank + 1))
            read_patches(folders[first:stop])
        mine["own_s"], mine["cpu_s"] = time.perf_counter() - start, time.process_time() - cpu

    mine["slowest_s"] = in_step(comm, work)
    write_result(comm, Path(sys.argv[2]), mine)


if __name__ == "__main__":
    main()
