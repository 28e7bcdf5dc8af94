"""What a projection needs to know of a cluster: its nodes, the shape of its jobs and its hardware, from a site file."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

__all__ = ["Cluster", "Hardware", "read_cluster"]


@dataclass(frozen=True, slots=True)
class Hardware:
    """The table [hardware] of a site file; rates are decimal, 1 GB = 1e9 bytes."""

    gpu_node_memory_gib: float
    """Memory of a node with GPUs, of which three quarters can hold files that were read."""

    node_read_gb_s: float
    """GB that one node can read from the parallel file system in a second."""

    node_write_gb_s: float
    """GB that one node can write to it in a second."""

    total_read_gb_s: float
    """GB that all nodes of one job can read from it in a second."""

    total_write_gb_s: float
    """GB that all nodes of one job can write to it in a second."""

    node_link_gb_s: float
    """GB that a node with GPUs can send to another in a second."""

    source: str
    """Where these figures come from."""

    core_speed: float = 1.0
    """Speed of a core, divided by that of the machine of the kept records."""

    gpu_patches_per_second: float = 0.0
    """Patches of twelve bands that one GPU trains on in a second; 0 if unknown."""

    gpu_source: str = ""
    """Where that rate comes from."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is not str and not (value > 0 or (field.name == "gpu_patches_per_second" and value == 0)):
                raise ValueError(f"{field.name} must be above 0, got {value}")
        if self.gpu_patches_per_second and not self.gpu_source:
            raise ValueError("gpu_source must say where gpu_patches_per_second comes from")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster on paper."""

    name: str
    """Name of the site file."""

    cpu_cores: int
    """Cores of a node without GPUs."""

    gpu_cores: int
    """Cores of a node with GPUs."""

    gpus: int
    """GPUs of a node with GPUs."""

    ranks_per_node: Mapping[str, int]
    """Ranks on a node, by the name of the job in the site file."""

    hardware: Hardware


def read_cluster(path: Path) -> Cluster:
    """What a site file says of a cluster.

    Raises:
        ValueError: the file is no TOML, or lacks a table or key, or a value is wrong.
        OSError: the file cannot be opened.
    """
    try:
        site = tomllib.loads(path.read_text(encoding="utf-8"))
        hardware = _hardware(site["hardware"])
        ranks = {name: int(job.get("ranks_per_node", 1)) for name, job in site["jobs"].items()}
        gpu = site["gpu"]
        return Cluster(path.stem, int(site["cpu"]["cores"]), int(gpu["cores"]), int(gpu["gpus"]), ranks, hardware)
    except KeyError as error:
        raise ValueError(f"{path} must have the table or key {error.args[0]}") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _hardware(table: Mapping[str, Any]) -> Hardware:
    known = [field.name for field in fields(Hardware)]
    if unknown := sorted(table.keys() - set(known)):
        raise ValueError(f"[hardware] must have only the keys {', '.join(known)}, got {unknown[0]}")
    missing = [field.name for field in fields(Hardware)[:7] if field.name not in table]
    if missing:
        raise KeyError(f"hardware.{missing[0]}")
    return Hardware(**table)
