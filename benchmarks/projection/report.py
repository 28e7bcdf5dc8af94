"""Text of a projection: a line for each job, then what every number was made of, and how far off earlier ones were."""

from collections.abc import Iterator, Sequence

from benchmarks.projection.check import Comparison
from benchmarks.projection.jobs import FORWARD_SHARE, ProjectedJob, Workload
from benchmarks.projection.parts import Part, Parts
from benchmarks.projection.site import Cluster

__all__ = ["check_text", "projection_text"]

_COLUMNS = (
    f"{'job':<11}{'nodes':>6}{'ranks':>7}{'hours':>9}{'node hours':>12}{'GB read':>10}{'GB/s':>8}"
    f"{'GB written':>12}{'GB/s':>8}  limited by"
)


def projection_text(
    cluster: Cluster, work: Workload, jobs: Sequence[ProjectedJob], parts: Parts, gpu_rate: Part
) -> str:
    """The whole answer. GB/s are what a job asks of the file system where that is not its limit."""
    patches = work.times * work.patches
    size = f"{work.times} x BigEarthNet: {work.times * work.products:,} products, {patches:,} patches"
    lines = [
        f"{cluster.name}, {size}, a store of {patches * parts.row_bytes / 1e9:,.0f} GB; {work.epochs} epochs",
        "Computed, not measured: no job ran on this cluster.",
        "",
        _COLUMNS,
        *(_line(job) for job in jobs),
        f"{'all':<24}{sum(job.seconds for job in jobs) / 3600:>9.3f}{sum(job.node_hours for job in jobs):>12.2f}",
        "",
        "Measured by this project (record, date, machine), on one core:",
        *(f"  {part.value:>12.5g}  {part.name} ({part.source})" for part in parts.single if part.measured),
        f"  {_inefficiencies(parts)}",
        "Not measured by this project:",
        f"  {gpu_rate.value:>12.5g}  {gpu_rate.name} ({gpu_rate.source})",
        *_hardware(cluster),
        "Assumed:",
        *_assumptions(cluster),
    ]
    return "\n".join(lines) + "\n"


def check_text(comparisons: Sequence[Comparison]) -> str:
    """Lines of what was measured beside what is projected for it."""
    lines = ["Checked where something was measured, s:"]
    lines += [
        f"  {item.name.replace('_', ' '):<22} projected {item.projected_s:>6.1f}, measured {item.measured_s:>6.1f}, "
        f"ratio {item.ratio:.2f} ({item.source})"
        for item in comparisons
    ]
    return "\n".join(lines) + "\n"


def _line(job: ProjectedJob) -> str:
    read_s, written_s = (rate / 1e9 for rate in job.asked_bytes_s)
    sizes = f"{job.read_bytes / 1e9:>10,.0f}{read_s:>8.2f}{job.written_bytes / 1e9:>12,.0f}{written_s:>8.2f}"
    hours = f"{job.seconds / 3600:>9.3f}{job.node_hours:>12.2f}"
    return f"{job.name:<11}{job.nodes:>6}{job.workers:>7}{hours}{sizes}  {job.limit}"


def _inefficiencies(parts: Parts) -> str:
    points = ", ".join(f"{value:.3f} at {at:.3g}" for at, value in parts.inefficiency.items())
    return f"inefficiency of the plan by ranks for each product: {points} ({parts.inefficiency_source})"


def _hardware(cluster: Cluster) -> Iterator[str]:
    hardware = cluster.hardware
    yield f"  file system: a node reads {hardware.node_read_gb_s:g} and writes {hardware.node_write_gb_s:g} GB/s,"
    yield f"    all together {hardware.total_read_gb_s:g} and {hardware.total_write_gb_s:g} GB/s; {hardware.source}"
    yield f"  links of a node with GPUs: {hardware.node_link_gb_s:g} GB/s"


def _assumptions(cluster: Cluster) -> Iterator[str]:
    yield f"  a core is {cluster.hardware.core_speed:g} times as fast as those of the records, also if all are busy"
    yield "  computing, reading and writing overlap: the slowest of them decides"
    yield "  gradients are averaged after a step, not during it; within a node that takes no time"
    yield f"  predicting takes {FORWARD_SHARE:.2f} of the time of training; one validation each epoch"
    yield "  training reads the file system once a node if all rows fit into 3/4 of its memory, else in each epoch"
