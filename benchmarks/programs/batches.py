"""`python -m benchmarks.programs.batches JOBS.json ANSWERS.json`: read batches, and verify the checksum of each row.

A job either writes the rows ("write"), or reads them in the order of the batches ("read") after two batches that are
not timed. If it is `cold`, its files are then dropped from the page cache. Runs in the virtual environment of the
reader, which also has numpy and xxhash.
"""

import gc
import importlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from benchmarks.machine import Moment, others_share
from etl.store.sync import sync_and_drop_cache

__all__ = ["main"]

_WARM_UP = 2
_AT_HAND = "b'1' * (1 << 30)"
"""Touches a GiB and frees it, so that no reader has to wait until the host of a virtual machine provides memory."""


def _disk_bytes() -> int:
    """Bytes that this process has read from the disk so far."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["read_bytes"])


def _read(job: dict[str, Any], reader: Any) -> dict[str, Any]:
    """Time one pass, stopped after `longest_s` seconds; every byte is read.

    Raises:
        RuntimeError: a row is not the one asked for.
    """
    order, checksums, path = np.load(job["order"]), np.load(job["checksums"]).tolist(), Path(job["path"])
    for _ in reader.batches(path, order[:_WARM_UP]):
        pass
    gc.collect()
    gc.freeze()  # the garbage collector must not scan the reader's packages during the measurement
    if job["cold"]:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file():
                sync_and_drop_cache(file)
        subprocess.run([sys.executable, "-c", _AT_HAND], check=True)
    read_before = _disk_bytes()
    looks, wrong, patches = getattr(reader, "CONSUMED", True), 0, 0
    before, cpu_s, start = Moment.now(), time.process_time(), time.perf_counter()
    for rows, batch in zip(order.tolist(), reader.batches(path, order), strict=True):
        if looks:
            digests = [xxhash.xxh3_64_intdigest(pixels) for pixels in batch]
            wrong += sum(digest != checksums[row] for digest, row in zip(digests, rows, strict=True))
        patches += len(rows)
        seconds = time.perf_counter() - start
        if seconds >= job["longest_s"]:
            break
    cpu_s = time.process_time() - cpu_s
    if wrong:
        raise RuntimeError(f"{job['reader']} must deliver the requested rows, {wrong} of {patches} were others")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = {"patches": patches, "seconds": seconds, "cpu_s": cpu_s, "peak_resident_mib": peak_mib}
    answer["disk_bytes"] = _disk_bytes() - read_before
    return answer | {"others_share": others_share(before, Moment.now(), cpu_s)}


def _do(job: dict[str, Any]) -> dict[str, Any]:
    reader = importlib.import_module(f"benchmarks.readers.{job['reader']}")
    if job["what"] == "read":
        return _read(job, reader)
    reader.write(Path(job["path"]), np.load(job["rows"], mmap_mode="r"), np.load(job["order"]))
    return {}


def main() -> None:
    """Run the jobs, one after the other."""
    jobs = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    Path(sys.argv[2]).write_text(json.dumps([_do(job) for job in jobs]), encoding="utf-8")


if __name__ == "__main__":
    main()
