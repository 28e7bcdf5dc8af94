"""How far the projection is off where something was measured: this machine's ranks and workers, the paper's epochs."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.projection.jobs import GRADIENT_BYTES, TILE_PATCHES, Workload, inefficiency, reduce_s
from benchmarks.projection.parts import PAPER_RATE, RECORDS, Parts

__all__ = ["PAPER_GPUS_A_NODE", "PAPER_S", "Comparison", "compare_projection"]

PAPER_S = {1: 347, 2: 172, 4: 86, 8: 42, 12: 27, 16: 20, 24: 15}
"""Seconds per epoch by number of nodes. Source: Sedona et al. 2019, figure 3."""

PAPER_GPUS_A_NODE = 4
_PAPER_LINK_GB_S = 25.0
"""GB that a node of JUWELS with GPUs sends in a second by its two links of 100 Gbit/s. Source: JLSRF 5, A135 (2019)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One run that was measured, and what is projected for it."""

    name: str
    """What ran, as part of a figure's name."""

    projected_s: float
    measured_s: float
    source: str
    """Where the measured seconds come from."""

    @property
    def ratio(self) -> float:
        """Projected over measured seconds."""
        return self.projected_s / self.measured_s


def compare_projection(parts: Parts, folder: Path = RECORDS) -> list[Comparison]:
    """Comparisons with the records `ranks` and `scale` in `folder`, and with the paper.

    The records are runs of their own: what is projected comes from `extract`, and from one worker of `scale`.
    """
    return [*_extractions(parts, folder), *_training(parts, folder), *_paper()]


def _extractions(parts: Parts, folder: Path) -> Iterator[Comparison]:
    """A full product on one rank and on two; both measured while two ranks were busy."""
    core_s = parts.decode_s.value + TILE_PATCHES * parts.patch_s.value
    record = json.loads((folder / "ranks.laptop.json").read_text(encoding="utf-8"))
    source = f"ranks, {record['started'][:10]}, this project's machine"
    for ranks, name in ((1, "copies"), (2, "together")):
        runs: list[dict[str, Any]] = [one for run in record["repeats"] if run["run"] == name for one in run["runs"]]
        projected_s = parts.extract_start_s.value + core_s * inefficiency(parts, float(ranks)) / ranks
        yield Comparison(f"extract_{ranks}_ranks", projected_s, median(run["wall_s"] for run in runs), source)


def _training(parts: Parts, folder: Path) -> Iterator[Comparison]:
    record = json.loads((folder / "scale.laptop.json").read_text(encoding="utf-8"))
    projected_s = parts.train_s.value * record["data"]["rows"] / 2
    measured_s = record["figures"]["epoch_2_workers_seconds_median"]
    yield Comparison("epoch_2_workers", projected_s, measured_s, f"scale, {record['started'][:10]}, the same machine")


def _paper() -> Iterator[Comparison]:
    rows, batch = Workload().split[0], Workload().batch
    for nodes, measured_s in PAPER_S.items():
        gpus = nodes * PAPER_GPUS_A_NODE
        together_s = -(-rows // (batch * gpus)) * reduce_s(nodes, GRADIENT_BYTES, _PAPER_LINK_GB_S)
        projected_s = rows / gpus / PAPER_RATE.value + together_s
        yield Comparison(f"paper_epoch_{nodes}_nodes", projected_s, measured_s, "Sedona et al. 2019, 4 V100 a node")
