"""`python -m benchmarks.programs.feed JOB.json RESULT.json`: workers that stream a store and sleep instead of training.

Each rank reads its batch of each step through the trainer's stream, and sleeps as long as a GPU of the given speed
would need for it. After each step the ranks wait for each other, as in an all-reduce.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.programs.world import time_slowest, world, write_result
from etl.mpi import wait_polling
from trainer.config import BandSelection
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, select_rows
from trainer.data.stream import BatchStream

__all__ = ["main"]

_WARM_UP = 4
"""Steps that are not timed, while the stream starts and reads its first batches."""


def _pass(job: dict[str, Any], rate: float) -> dict[str, float]:
    """Collective: seconds of the steps at one speed, and how many of them were slept."""
    comm, batch = world(), job["batch"]
    rows = select_rows(Path(job["path"]), RowSelection((BandSelection(job["name"]),)))
    sampler = DistributedSampler(len(rows), batch, comm.size)
    steps = _WARM_UP + max(4, int(job["seconds"] * rate / batch))
    batches = BatchStream(rows, batch, lambda step: sampler.rank_batch(step, comm.rank))(range(steps))
    looked_at = 0

    def step() -> None:
        nonlocal looked_at
        pixels, *_ = next(batches)
        looked_at += int(pixels[0][-1, -1, -1, -1])
        time.sleep(batch / rate)
        wait_polling(comm.Ibarrier())

    def measured() -> None:
        for _ in range(steps - _WARM_UP):
            step()

    for _ in range(_WARM_UP):
        step()
    seconds = time_slowest(comm, measured)
    return {"rate": rate, "seconds": seconds, "slept_s": (steps - _WARM_UP) * batch / rate}


def main() -> None:
    """Measure each speed of the job."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    write_result(world(), Path(sys.argv[2]), [_pass(job, rate) for rate in job["rates"]])


if __name__ == "__main__":
    main()
