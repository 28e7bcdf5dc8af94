"""`make slow-links`: seconds of an extraction and of an all-reduce on three hosts, by kind of link.

Rate by `tc tbf`, loss by the statistic match of iptables, delay by a relay; all three hosts are on this machine. The
all-reduce has the size of ResNet-50's gradients; its seconds are the median of three. Needs root rights.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from cluster.host_trials import extraction, make_archive
from cluster.hosts import NAMES, Cluster, cluster, missing

RESNET50_PARAMETERS = 25_557_032
"""Source: He et al. 2016, as counted by torchvision; Keras's has a few thousand more."""

REPEATS = 3

LINKS: dict[str, dict[str, float]] = {
    "as the machine has it": {},
    "1 Gbit/s": {"mbit_per_s": 1000},
    "100 Mbit/s": {"mbit_per_s": 100},
    "1 Gbit/s, 40 ms to another host and back": {"mbit_per_s": 1000, "delay_s": 0.01},
    "1 Gbit/s, 1 % lost": {"mbit_per_s": 1000, "loss": 0.01},
}
"""What every host's link is like."""


def all_reduce(seconds: Path) -> None:
    """On every rank: all-reduce float32 values; rank 0 writes the seconds of each repeat to a file."""
    import numpy as np
    from mpi4py import MPI

    comm, times = MPI.COMM_WORLD, []
    values, total = np.ones(RESNET50_PARAMETERS, np.float32), np.empty(RESNET50_PARAMETERS, np.float32)
    for _ in range(REPEATS):
        comm.Barrier()
        start = time.perf_counter()
        comm.Allreduce(values, total)
        times.append(time.perf_counter() - start)
    if comm.rank == 0:
        seconds.write_text(json.dumps(times))


def measure(hosts: Cluster, folder: Path, archive: Path) -> tuple[float, float]:
    """Seconds of an extraction, from its own record, and median seconds of an all-reduce."""
    log = folder / "log"
    assert hosts.run(NAMES, log, *extraction(archive, folder / "store.h5"), timeout=900) == 0, log.read_text()
    extract_s = json.loads((folder / "store.json").read_text())["seconds_total"]
    path = {"PYTHONPATH": f"{Path(__file__).parents[1]}:{Path(__file__).parents[2]}"}
    assert hosts.run(NAMES, log, "cluster.slow_link", str(folder / "seconds"), timeout=900, **path) == 0, (
        log.read_text()
    )
    return extract_s, statistics.median(json.loads((folder / "seconds").read_text()))


def main() -> None:
    """Print a row for each kind of link."""
    if reason := missing():
        sys.exit(f"slow_link: {reason}")
    print("| link of each host | extraction, 36 patches | all-reduce, 102 MB |\n|---|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "archive"
        archive.mkdir()
        make_archive(archive)
        for number, (name, link) in enumerate(LINKS.items()):
            with cluster(Path(folder) / f"keys{number}") as hosts:
                for host in NAMES:
                    hosts.slow(host, **link)
                place = Path(folder) / str(number)
                place.mkdir()
                extract_s, reduce_s = measure(hosts, place, archive)
            print(f"| {name} | {extract_s:.1f} s | {reduce_s:.2f} s |", flush=True)


if __name__ == "__main__":
    all_reduce(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
