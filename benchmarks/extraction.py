"""Runs that scenarios share: one extraction, one bare GDAL loop; each cleans up behind itself."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.launch import Job, Outcome, ask, run_together
from benchmarks.setup import Setup

__all__ = [
    "Extraction",
    "Loop",
    "SideBySide",
    "Task",
    "extract_together",
    "network_loop",
    "plain_write",
    "read_loop",
    "run_extraction",
]


@dataclass(frozen=True, slots=True)
class Task:
    """What is extracted."""

    catalogue: Path
    """`patches.parquet`."""

    source: Path
    """Folder of products or patches."""

    flags: tuple[str, ...] = ()
    """Further flags of etl.extract."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """One extraction that has been run."""

    ranks: int
    seconds: float
    """From open to close and sync, by the extraction's own record."""

    record: dict[str, Any]
    """The extraction's own JSON record."""

    outcome: Outcome
    """What it cost."""

    @property
    def disturbance(self) -> float:
        """Share of the machine that others took."""
        return self.outcome.others_share

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all ranks."""
        return self.outcome.cpu_s

    def short(self, name: str) -> dict[str, Any]:
        """For a benchmark's record."""
        names = ("seconds_by_stage", "patches_per_second", "mib_per_second", "blocks_decoded")
        kept = {key: self.record[key] for key in names}
        memory = {key: [rank[key] for rank in self.outcome.ranks] for key in ("peak_resident_mib", "threads_cpu_s")}
        return {"run": name, "ranks": self.ranks, "seconds": self.seconds, **self.outcome.short(), **memory, **kept}


@dataclass(frozen=True, slots=True)
class Loop:
    """One bare loop, of reading or of writing, that has been run."""

    ranks: int
    seconds: float
    """Of its slowest rank."""

    cpu_s: float
    """CPU seconds of all ranks' loops."""

    blocks: list[tuple[str, int, float]]
    """(layer, block, CPU seconds) of every read of one band."""

    outcome: Outcome
    """What it cost."""

    @property
    def disturbance(self) -> float:
        """Share of the machine that others took."""
        return self.outcome.others_share

    def short(self, name: str) -> dict[str, Any]:
        """For a benchmark's record."""
        took = {"ranks": self.ranks, "seconds": self.seconds, "loop_cpu_s": self.cpu_s}
        return {"run": name, **took, **self.outcome.short()}


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Extractions that ran at the same time."""

    runs: list[Extraction]

    @property
    def seconds(self) -> float:
        """Of the slowest one."""
        return max(run.seconds for run in self.runs)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all of them."""
        return sum(run.cpu_s for run in self.runs)

    @property
    def disturbance(self) -> float:
        """Share of the machine that others took."""
        return max(run.disturbance for run in self.runs)

    def short(self, name: str) -> dict[str, Any]:
        """For a benchmark's record."""
        return {"run": name, "seconds": self.seconds, "runs": [run.short(name) for run in self.runs]}


def _job(task: Task, ranks: int, out: Path) -> Job:
    paths = ("--catalogue", str(task.catalogue), "--source", str(task.source), "--out", str(out))
    return Job("etl.extract", (*paths, *task.flags), ranks, task.environment)


def run_extraction(setup: Setup, task: Task, ranks: int) -> Extraction:
    """Run one extraction into the scratch folder and remove the store."""
    return extract_together(setup, task, [ranks]).runs[0]


def extract_together(setup: Setup, task: Task, ranks: Sequence[int]) -> SideBySide:
    """Run extractions side by side, each on its number of ranks and into its own store, and remove the stores."""
    home = Path(tempfile.mkdtemp(prefix="extract-", dir=setup.scratch))
    try:
        stores = [home / f"{number}.h5" for number in range(len(ranks))]
        outcomes = run_together(setup, [_job(task, size, out) for size, out in zip(ranks, stores, strict=True)])
        records = [json.loads(store.with_suffix(".json").read_text(encoding="utf-8")) for store in stores]
    finally:
        shutil.rmtree(home)
        os.sync()  # the next run must not pay for what this one left to be written
    each = zip(ranks, records, outcomes, strict=True)
    return SideBySide([Extraction(size, record["seconds_total"], record, outcome) for size, record, outcome in each])


def read_loop(setup: Setup, job: dict[str, Any], ranks: int) -> Loop:
    """Run `benchmarks.programs.read` on a job."""
    return _loop(setup, "read", job, ranks)


def network_loop(setup: Setup, job: dict[str, Any], ranks: int) -> Loop:
    """Run `benchmarks.programs.network` on a job."""
    return _loop(setup, "network", job, ranks)


def plain_write(setup: Setup, size_bytes: int, ranks: int) -> Loop:
    """Run `benchmarks.programs.bytes` in the scratch folder."""
    job = {"path": str(setup.scratch / f"bytes-{os.getpid()}"), "bytes": size_bytes}
    return _loop(setup, "bytes", job, ranks)


def _loop(setup: Setup, program: str, job: dict[str, Any], ranks: int) -> Loop:
    outcome, found = ask(setup, program, job, ranks)
    blocks = [(str(layer), int(index), float(s)) for rank in found for layer, index, s in rank["blocks"]]
    return Loop(ranks, found[0]["slowest_s"], sum(rank["cpu_s"] for rank in found), blocks, outcome)
