"""`python -m benchmarks.programs.batches JOBS.json ANSWERS.json`: batches by readers, each row held to its checksum.

A job says what is to be done: `write` the rows, or `read` them in the order of the batches, after a pass over two
batches that is not timed. Runs in the virtual environment of the readers, which has numpy and xxhash beside them.
"""

import importlib
import json
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from benchmarks.machine import Moment, others_share

__all__ = ["main"]

_WARM_UP = 2


def _wrong(
    order: npt.NDArray[np.int64], batches: Iterable[npt.NDArray[np.uint16]], checksums: npt.NDArray[np.uint64]
) -> int:
    """Rows whose pixels are not what they must be; every byte is looked at."""
    wrong = 0
    for rows, batch in zip(order.tolist(), batches, strict=True):
        found = [xxhash.xxh3_64_intdigest(pixels) for pixels in batch]
        wrong += sum(one != int(checksums[row]) for one, row in zip(found, rows, strict=True))
    return wrong


def _read(job: dict[str, Any], reader: Any) -> dict[str, Any]:
    order, checksums, place = np.load(job["order"]), np.load(job["checksums"]), Path(job["place"])
    checks = getattr(reader, "CONSUMED", True)
    if job["warm"]:
        _wrong(order[:_WARM_UP], reader.batches(place, order[:_WARM_UP]), checksums)
    before, cpu_s, start = Moment.now(), time.process_time(), time.perf_counter()
    if checks:
        wrong = _wrong(order, reader.batches(place, order), checksums)
    else:
        wrong = 0
        for _ in reader.batches(place, order):
            pass
    seconds, cpu_s = time.perf_counter() - start, time.process_time() - cpu_s
    if wrong:
        raise RuntimeError(f"{job['reader']} must deliver the rows asked for, {wrong} of {order.size} were others")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    shared = others_share(before, Moment.now(), cpu_s)
    return {"seconds": seconds, "cpu_s": cpu_s, "peak_resident_mib": peak_mib, "others_share": shared}


def _do(job: dict[str, Any]) -> dict[str, Any]:
    reader = importlib.import_module(f"benchmarks.readers.{job['reader']}")
    if job["what"] == "read":
        return _read(job, reader)
    reader.write(Path(job["place"]), np.load(job["rows"], mmap_mode="r"), np.load(job["order"]))
    return {}


def main() -> None:
    """Do what the jobs say, one after the other."""
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps([_do(job) for job in jobs]), encoding="utf-8")


if __name__ == "__main__":
    main()
