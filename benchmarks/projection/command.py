"""`python -m benchmarks project`: hours, node hours and bytes of the jobs of a chain on a cluster; nothing runs."""

import argparse
import sys
from collections.abc import Sequence

from benchmarks.findings import Skipped
from benchmarks.projection.check import compare_projection
from benchmarks.projection.jobs import Workload, project_chain
from benchmarks.projection.parts import PAPER_RATE, Part, read_parts
from benchmarks.projection.report import check_text, projection_text
from benchmarks.projection.site import Cluster, read_cluster
from etl.submit.site import default_deploy, site_path

__all__ = ["project"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks project",
        description="Print hours, node hours and bytes of each job of a chain on a cluster, and what limits it. It is "
        "computed from the kept records and the table [hardware] of a site file; nothing runs.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--site", default="generic", metavar="NAME", help="site of deploy/sites, or a file (default: %(default)s)"
    )
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="nodes that extract (default: %(default)s)")
    parser.add_argument("--gpus", type=int, default=4, metavar="G", help="GPUs that train (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, metavar="N", help="epochs (default: %(default)s)")
    parser.add_argument(
        "--batch", type=int, default=64, metavar="N", help="patches of a worker's batch (default: %(default)s)"
    )
    parser.add_argument(
        "--times", type=int, default=1, metavar="K", help="size of the archive in BigEarthNets (default: %(default)s)"
    )
    text = "how 20 m and 60 m bands become 10 m (default: %(default)s)"
    parser.add_argument("--upsample", choices=("bilinear", "dsen2"), default="bilinear", help=text)
    text = "patches that one GPU trains on in a second (default: the site file's, else the paper's V100)"
    parser.add_argument("--gpu-rate", type=float, metavar="X", help=text)
    return parser


def project(argv: Sequence[str]) -> int:
    """Print the projection that the command line asks for; returns the exit status."""
    parser = _parser()
    asked = parser.parse_args(argv)
    for name in ("nodes", "gpus"):
        if getattr(asked, name) < 1:
            parser.error(f"--{name} must be at least 1, got {getattr(asked, name)}")
    if asked.gpu_rate is not None and not asked.gpu_rate > 0:
        parser.error(f"--gpu-rate must be above 0, got {asked.gpu_rate:g}")
    try:
        cluster, parts = read_cluster(site_path(asked.site, default_deploy())), read_parts()
        work = Workload(asked.times, asked.epochs, asked.batch, asked.upsample == "dsen2")
    except (ValueError, OSError, Skipped) as error:
        parser.error(str(error))
    rate = _gpu_rate(cluster, asked.gpu_rate)
    jobs = project_chain(cluster, parts, work, (asked.nodes, asked.gpus), rate)
    sys.stdout.write(projection_text(cluster, work, jobs, parts, rate) + check_text(compare_projection(parts)))
    return 0


def _gpu_rate(cluster: Cluster, given: float | None) -> Part:
    if given is not None:
        return Part(PAPER_RATE.name, given, "given: --gpu-rate", measured=False)
    hardware = cluster.hardware
    if hardware.gpu_patches_per_second:
        return Part(PAPER_RATE.name, hardware.gpu_patches_per_second, hardware.gpu_source, measured=False)
    return PAPER_RATE
