"""Runs that several scenarios need: extractions and bare loops; each removes the files that it wrote."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.launch import Job, Outcome, run_program, run_together
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
    """Input and flags of an extraction."""

    catalogue: Path
    """`patches.parquet`."""

    source: Path
    """Folder of products or patches."""

    flags: tuple[str, ...] = ()
    """More flags of etl.extract."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """More environment variables."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """Result of one extraction."""

    ranks: int
    seconds: float
    """Seconds from opening to closing, sync included, as the extraction's own record says."""

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

    def to_record(self, name: str) -> dict[str, Any]:
        """For a benchmark's record."""
        names = ("seconds_by_stage", "patches_per_second", "mib_per_second", "blocks_decoded")
        from_record = {key: self.record[key] for key in names}
        memory = {key: [rank[key] for rank in self.outcome.ranks] for key in ("peak_resident_mib", "threads_cpu_s")}
        return {
            "run": name,
            "ranks": self.ranks,
            "seconds": self.seconds,
            **self.outcome.to_record(),
            **memory,
            **from_record,
        }


@dataclass(frozen=True, slots=True)
class Loop:
    """Result of one bare loop of reading, writing or networks."""

    ranks: int
    seconds: float
    """Seconds of the slowest rank."""

    cpu_s: float
    """CPU seconds of all ranks' loops."""

    blocks: list[tuple[str, int, float]]
    """(layer, block, CPU seconds) of each block of each band."""

    outcome: Outcome
    """What it cost."""

    @property
    def disturbance(self) -> float:
        """Share of the machine that others took."""
        return self.outcome.others_share

    def to_record(self, name: str) -> dict[str, Any]:
        """For a benchmark's record."""
        took = {"ranks": self.ranks, "seconds": self.seconds, "loop_cpu_s": self.cpu_s}
        return {"run": name, **took, **self.outcome.to_record()}


@dataclass(frozen=True, slots=True)
class SideBySide:
    """Results of extractions that ran at the same time."""

    runs: list[Extraction]

    @property
    def seconds(self) -> float:
        """Seconds of the slowest one."""
        return max(run.seconds for run in self.runs)

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all of them."""
        return sum(run.cpu_s for run in self.runs)

    @property
    def disturbance(self) -> float:
        """Share of the machine that others took."""
        return max(run.disturbance for run in self.runs)

    def to_record(self, name: str) -> dict[str, Any]:
        """For a benchmark's record."""
        return {"run": name, "seconds": self.seconds, "runs": [run.to_record(name) for run in self.runs]}


def _job(task: Task, ranks: int, out: Path) -> Job:
    paths = ("--catalogue", str(task.catalogue), "--source", str(task.source), "--out", str(out))
    return Job("etl.extract", (*paths, *task.flags), ranks, task.environment)


def run_extraction(setup: Setup, task: Task, ranks: int) -> Extraction:
    """Run one extraction into the scratch folder, and remove the store."""
    return extract_together(setup, task, [ranks]).runs[0]


def extract_together(setup: Setup, task: Task, ranks: Sequence[int]) -> SideBySide:
    """Run extractions at the same time, each on its number of ranks into its own store, and remove the stores."""
    home = Path(tempfile.mkdtemp(prefix="extract-", dir=setup.scratch))
    try:
        stores = [home / f"{number}.h5" for number in range(len(ranks))]
        outcomes = run_together(setup, [_job(task, size, out) for size, out in zip(ranks, stores, strict=True)])
        records = [json.loads(store.with_suffix(".json").read_text(encoding="utf-8")) for store in stores]
    finally:
        shutil.rmtree(home)
        os.sync()  # so that the next run is not slowed by pages of this one that are still to be written
    runs = zip(ranks, records, outcomes, strict=True)
    return SideBySide([Extraction(size, record["seconds_total"], record, outcome) for size, record, outcome in runs])


def read_loop(setup: Setup, job: dict[str, Any], ranks: int) -> Loop:
    """Run `benchmarks.programs.read` with a job."""
    return _loop(setup, "read", job, ranks)


def network_loop(setup: Setup, job: dict[str, Any], ranks: int) -> Loop:
    """Run `benchmarks.programs.network` with a job."""
    return _loop(setup, "network", job, ranks)


def plain_write(setup: Setup, size_bytes: int, ranks: int) -> Loop:
    """Write `size_bytes` bytes with `benchmarks.programs.bytes` in the scratch folder."""
    job = {"path": str(setup.scratch / f"bytes-{os.getpid()}"), "bytes": size_bytes}
    return _loop(setup, "bytes", job, ranks)


def _loop(setup: Setup, program: str, job: dict[str, Any], ranks: int) -> Loop:
    outcome, answers = run_program(setup, program, job, ranks)
    blocks = [(str(layer), int(index), float(s)) for rank in answers for layer, index, s in rank["blocks"]]
    return Loop(ranks, answers[0]["slowest_s"], sum(rank["cpu_s"] for rank in answers), blocks, outcome)
