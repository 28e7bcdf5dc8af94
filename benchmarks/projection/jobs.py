"""Model of each job of a chain: seconds by what takes them, and the bytes that it asks of the file system.

Work divides evenly over cores; what the plan loses is the measured inefficiency. Reading and writing go on while cores
compute, so the slower of the two decides, and the start is added. Pure: numbers in, numbers out.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.projection.parts import Part, Parts
from benchmarks.projection.site import Cluster

__all__ = [
    "FORWARD_SHARE",
    "GRADIENT_BYTES",
    "TILE_PATCHES",
    "ProjectedJob",
    "Workload",
    "inefficiency",
    "project_chain",
    "reduce_s",
]

GRADIENT_BYTES = 4 * 23_600_000
"""Size of the gradients of ResNet-50 with twelve bands and 43 classes, float32."""

TILE_PATCHES = 8281
"""Patches of a full product."""

FORWARD_SHARE = 1 / 3
"""Assumed share of a training step that predicting takes: a backward pass computes twice what a forward pass does."""

_CACHE_SHARE = 0.75
"""Assumed share of a node's memory in which files that were read stay."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What a chain of jobs has to do; the numbers of BigEarthNet, times a factor."""

    times: int = 1
    """Factor."""

    epochs: int = 100
    """Epochs of the training."""

    batch: int = 64
    """Patches of a worker's batch."""

    dsen2: bool = False
    """Whether DSen2 upsamples, on CPU cores; bilinear interpolation otherwise."""

    products: int = 125
    """Products before the factor. Source: Sedona et al. 2019."""

    patches: int = 519_339
    """Patches before the factor that the published lists of snow and cloud keep."""

    split: tuple[int, int, int] = (269_695, 123_723, 125_866)
    """Rows to train, validate and test on before the factor, by BigEarthNet's published split."""

    def __post_init__(self) -> None:
        for name in ("times", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class ProjectedJob:
    """The projection of one job."""

    name: str
    nodes: int
    workers: int
    """Ranks, or workers of a training."""

    start_s: float
    """Seconds that do not shrink with more nodes: start of processes, work of rank 0 alone."""

    limits: dict[str, float]
    """Seconds that each resource would take by itself, by its name; they work at the same time."""

    read_bytes: float
    """Bytes that it reads from the parallel file system."""

    written_bytes: float
    """Bytes that it writes to it."""

    @property
    def seconds(self) -> float:
        """Predicted seconds."""
        return self.start_s + max(self.limits.values())

    @property
    def node_hours(self) -> float:
        """Predicted hours times nodes."""
        return self.nodes * self.seconds / 3600

    @property
    def limit(self) -> str:
        """What takes most of its time."""
        name = max(self.limits, key=lambda key: self.limits[key])
        return "start-up" if self.start_s > self.limits[name] else name

    @property
    def asked_bytes_s(self) -> tuple[float, float]:
        """Bytes a second that it would read, and write, if the file system were never the limit."""
        free_s = max(value for name, value in self.limits.items() if name != "file system")
        return self.read_bytes / free_s, self.written_bytes / free_s


def project_chain(
    cluster: Cluster, parts: Parts, work: Workload, size: tuple[int, int], gpu_rate: Part
) -> list[ProjectedJob]:
    """The jobs of a chain; `size`: nodes that extract, and GPUs that train, each at `gpu_rate` patches a second."""
    nodes, gpus = size
    patches = work.times * work.patches
    catalogue = ProjectedJob("catalogue", 1, 1, 0.0, {"one core": patches * parts.catalogue_s.value}, 0.0, 0.0)
    return [
        catalogue,
        _extraction(cluster, parts, work, nodes),
        _statistics(cluster, parts, patches * parts.row_bytes),
        _training(cluster, parts, work, gpus, gpu_rate.value),
        _evaluation(cluster, parts, work, gpu_rate.value),
    ]


def _extraction(cluster: Cluster, parts: Parts, work: Workload, nodes: int) -> ProjectedJob:
    products, patches = work.times * work.products, work.times * work.patches
    ranks = nodes * cluster.ranks_per_node["extract"]
    cores = nodes * min(cluster.ranks_per_node["extract"], cluster.cpu_cores)
    patch_s = parts.patch_s.value + (parts.dsen2_s.value if work.dsen2 else 0.0)
    core_s = products * parts.decode_s.value + patches * patch_s
    busy_s = core_s * inefficiency(parts, ranks / products) / cores / cluster.hardware.core_speed
    read, written = products * parts.product_bytes.value, float(patches * parts.row_bytes)
    start_s = parts.extract_start_s.value + patches * parts.plan_s.value / cluster.hardware.core_speed
    limits = {"DSen2 on CPUs" if work.dsen2 else "decoding": busy_s}
    limits["file system"] = _file_system_s(cluster, nodes, read, written)
    return ProjectedJob("extraction", nodes, ranks, start_s, limits, read, written)


def inefficiency(parts: Parts, ranks_per_product: float) -> float:
    """Ranks x time of the last rank / time of all work, between the measured ones; 1 or more."""
    at, values = np.log(list(parts.inefficiency)), list(parts.inefficiency.values())
    return float(np.interp(np.log(ranks_per_product), at, values))


def _statistics(cluster: Cluster, parts: Parts, store_bytes: float) -> ProjectedJob:
    ranks = min(cluster.ranks_per_node["statistics"], cluster.cpu_cores)
    counting_s = store_bytes / parts.statistics_bytes_s.value / ranks / cluster.hardware.core_speed
    limits = {"counting": counting_s, "file system": _file_system_s(cluster, 1, store_bytes, 0.0)}
    return ProjectedJob("statistics", 1, ranks, parts.extract_start_s.value, limits, store_bytes, 0.0)


def _training(cluster: Cluster, parts: Parts, work: Workload, gpus: int, rate: float) -> ProjectedJob:
    nodes = -(-gpus // cluster.gpus)
    train, validate, _ = (work.times * rows for rows in work.split)
    steps = -(-train // (work.batch * gpus))
    hardware, per_node = cluster.hardware, min(gpus, cluster.gpus)
    together_s = work.epochs * steps * reduce_s(nodes, GRADIENT_BYTES, hardware.node_link_gb_s)
    computing_s = work.epochs * (train + FORWARD_SHARE * validate) / gpus / rate
    loading_s = (
        work.epochs * (train + validate) * parts.loader_s.value / nodes / cluster.gpu_cores / hardware.core_speed
    )
    in_memory = (train + validate) * parts.loaded_bytes <= _CACHE_SHARE * hardware.gpu_node_memory_gib * 2**30
    # each node reads other rows in each epoch, so what fits into its memory is all of the rows or none
    passes = min(nodes, work.epochs) if in_memory else work.epochs
    read = float(passes * (train + validate) * parts.loaded_bytes)
    limits = {
        "GPUs" if computing_s >= together_s else "all-reduce": computing_s + together_s,
        "loading on CPUs": loading_s,
        "file system": _file_system_s(cluster, nodes, read, 0.0),
    }
    return ProjectedJob("training", nodes, nodes * per_node, parts.train_start_s.value, limits, read, 0.0)


def reduce_s(nodes: int, gradient_bytes: float, link_gb_s: float) -> float:
    """Seconds of a ring all-reduce over nodes; within a node it takes none."""
    return 2 * (nodes - 1) / nodes * gradient_bytes / (link_gb_s * 1e9)


def _evaluation(cluster: Cluster, parts: Parts, work: Workload, rate: float) -> ProjectedJob:
    rows, gpus = work.times * work.split[2], min(cluster.ranks_per_node["evaluate"], cluster.gpus)
    read = float(rows * parts.loaded_bytes)
    limits = {
        "GPUs": FORWARD_SHARE * rows / gpus / rate,
        "loading on CPUs": rows * parts.loader_s.value / cluster.gpu_cores / cluster.hardware.core_speed,
        "file system": _file_system_s(cluster, 1, read, 0.0),
    }
    return ProjectedJob("evaluation", 1, gpus, parts.train_start_s.value, limits, read, 0.0)


def _file_system_s(cluster: Cluster, nodes: int, read: float, written: float) -> float:
    """Seconds that the parallel file system takes for these bytes, read and written one after the other."""
    hardware = cluster.hardware
    read_s = read / min(nodes * hardware.node_read_gb_s, hardware.total_read_gb_s)
    return (read_s + written / min(nodes * hardware.node_write_gb_s, hardware.total_write_gb_s)) / 1e9
