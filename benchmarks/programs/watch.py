"""`python -m benchmarks.programs.watch FOLDER MODULE ...`: run a module, and record its memory and CPU time.

Writes FOLDER/<host>-<process>.json: peak resident memory, memory at the end, CPU seconds in all and by Python thread.
Threads that a library starts by itself (such as a decoder's) are only in the sum.
"""

import contextlib
import json
import os
import platform
import resource
import runpy
import sys
import threading
import time
from pathlib import Path

__all__ = ["main"]

_MIB = 1 / 1024
"""MiB in one kB of /proc."""


def _note_threads(cpu_s: dict[str, float]) -> None:
    """Make each thread add its CPU seconds to `cpu_s`, under its name, when it ends."""
    original = threading.Thread.run

    def run(self: threading.Thread) -> None:
        try:
            original(self)
        finally:
            cpu_s[self.name] = cpu_s.get(self.name, 0.0) + time.thread_time()

    threading.Thread.run = run  # type: ignore[method-assign]


def _note_running_threads(cpu_s: dict[str, float]) -> None:
    """Add to `cpu_s` the CPU seconds of the other threads, which have not ended."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            spent = Path(f"/proc/self/task/{thread.native_id}/schedstat")
            with contextlib.suppress(OSError):
                cpu_s[thread.name] = cpu_s.get(thread.name, 0.0) + int(spent.read_text().split()[0]) * 1e-9


def _kib(path: str, key: str) -> float:
    """The number of kB in a line of a file of /proc, such as `VmHWM: 123 kB`; NaN if there is none."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return float("nan")
    return next((float(line.split()[1]) for line in lines if line.startswith(key + ":")), float("nan"))


def _write(folder: Path, threads: dict[str, float]) -> None:
    _note_running_threads(threads)
    used = resource.getrusage(resource.RUSAGE_SELF)
    record = {
        "rank": int(os.environ.get("OMPI_COMM_WORLD_RANK") or os.environ.get("PMI_RANK") or -1),
        "peak_resident_mib": _kib("/proc/self/status", "VmHWM") * _MIB,
        "resident_mib": _kib("/proc/self/status", "VmRSS") * _MIB,
        "proportional_mib": _kib("/proc/self/smaps_rollup", "Pss") * _MIB,
        "cpu_s": used.ru_utime + used.ru_stime,
        "system_cpu_s": used.ru_stime,
        "threads_cpu_s": {**threads, "main": time.thread_time()},
    }
    path = folder / f"{platform.node()}-{os.getpid()}.json"
    path.write_text(json.dumps(record), encoding="utf-8")


def main() -> None:
    """Run the module named on the command line."""
    folder, module = Path(sys.argv[1]), sys.argv[2]
    sys.argv = sys.argv[2:]
    threads: dict[str, float] = {}
    _note_threads(threads)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        _write(folder, threads)


if __name__ == "__main__":
    main()
