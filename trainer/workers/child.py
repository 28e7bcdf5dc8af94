"""Run another command on worker 0, in a process of its own, while the other workers wait and hear of signals."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import etl
from etl.exit_status import ExitStatus, JobError
from trainer.workers.horovod import Workers

__all__ = ["node_cores", "run_child"]

_POLL_S = 0.2

_LAUNCHER_PREFIXES = ("OMPI_", "PMIX_", "PMI_", "PRTE_", "MV2_", "HYDRA_", "JSM_", "FLUX_", "SLURM_", "HOROVOD_")
"""Beginnings of the names of variables by which a process knows its launcher: the child is a rank of none."""


def node_cores(workers: Workers) -> set[int]:
    """Collective: numbers of the cores that the workers on the node of worker 0 may use."""
    nodes = workers.allgather((socket.gethostname(), os.sched_getaffinity(0)))
    return set().union(*(cores for host, cores in nodes if host == nodes[0][0]))


def run_child(workers: Workers, words: Sequence[str], folder: Path, cores: set[int]) -> None:
    """Collective: run `python -m` with `words` in `folder` on worker 0, and wait for its end.

    It may use `cores`. It gets none of the signals of this process, which kills it on its way out. What it prints to
    stdout is dropped.

    Raises:
        JobError: it did not end with status 0, on every worker alike.
    """
    started = list["subprocess.Popen[bytes]"]()
    try:
        workers.on_worker_0(f"starting {words[0]}", lambda: started.append(_start(words, folder, cores)))
        while (status := workers.allgather([child.poll() for child in started])[0][0]) is None:
            time.sleep(_POLL_S)  # not in one long exchange, about which Horovod would complain
    finally:
        for child in started:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)  # with what MPI has started beside it
                child.wait()
    if status != ExitStatus.DONE:
        known = ExitStatus(status) if status in set(ExitStatus) else ExitStatus.FAILED
        how = f"with status {status}" if status > 0 else f"by {signal.Signals(-status).name}"
        raise JobError(f"python -m {words[0]} ended {how}; what it said stands above", known)


def _start(words: Sequence[str], folder: Path, cores: set[int]) -> "subprocess.Popen[bytes]":
    """Start it."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(_LAUNCHER_PREFIXES)}
    # in another folder `python -m` would not find a package that is not installed
    roots = [str(Path(str(etl.__file__)).parents[1]), *variables.get("PYTHONPATH", "").split(os.pathsep)]
    variables["PYTHONPATH"] = os.pathsep.join(str(Path(root).absolute()) for root in roots if root)
    child = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=folder, env=variables, stdout=subprocess.DEVNULL, start_new_session=True
    )
    with contextlib.suppress(OSError):  # then it has the cores of this worker
        os.sched_setaffinity(child.pid, cores)
    return child
