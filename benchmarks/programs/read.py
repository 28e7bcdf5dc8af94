"""`python -m benchmarks.programs.read JOB.json RESULT.json`: a bare GDAL loop over blocks or patches.

JOB has `files` (layer, path, windows to decode) or `folders` (of patches), which are divided among the ranks. RESULT
has one object per rank.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.programs.gdal import decode_blocks, read_patches
from benchmarks.programs.world import time_slowest, world, write_result

__all__ = ["main"]


def main() -> None:
    """Collective: time reading the files or folders of the job."""
    comm = world()
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result: dict[str, Any] = {"blocks": []}

    def work() -> None:
        """Read this rank's part, and keep how long it took."""
        start, cpu = time.perf_counter(), time.process_time()
        if "files" in job:
            result["blocks"] = decode_blocks(job["files"], comm.rank, comm.size)
        else:
            folders = job["folders"]
            first, stop = (len(folders) * k // comm.size for k in (comm.rank, comm.rank + 1))
            read_patches(folders[first:stop])
        result["own_s"], result["cpu_s"] = time.perf_counter() - start, time.process_time() - cpu

    result["slowest_s"] = time_slowest(comm, work)
    write_result(comm, Path(sys.argv[2]), result)


if __name__ == "__main__":
    main()
