"""Start programs on many ranks, and measure their cost: wall seconds, CPU seconds, peak memory of each rank."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import Moment, others_share
from benchmarks.setup import Setup

__all__ = ["UNBOUND", "Job", "Outcome", "environment", "prepare", "run", "run_program", "run_together"]

_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",  # root in a container
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",  # more ranks than cores
}

UNBOUND = {"OMPI_MCA_hwloc_base_binding_policy": "none"}
"""Lets each rank use all cores. By default mpirun binds a single rank to the first core, so several of them started at
the same time would share it."""


@dataclass(frozen=True, slots=True)
class Job:
    """One module to run on some ranks."""

    module: str
    """Name of the module, as for `python -m`."""

    arguments: tuple[str, ...]
    """Its command line."""

    ranks: int
    """Number of ranks."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables to set in addition to those of this process."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Cost of one run."""

    wall_s: float
    """Seconds from the start of the launcher to its end."""

    others_share: float
    """Share of the machine's CPU time that other programs used in the meantime, 0 to 1; NaN if unknown."""

    ranks: list[dict[str, Any]]
    """Record of `benchmarks.programs.watch` for each rank: peak memory in MiB, CPU seconds in all and by thread."""

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all ranks."""
        return float(sum(rank["cpu_s"] for rank in self.ranks))

    def by_rank(self, name: str) -> list[float]:
        """One quantity of each rank, in the unit of its name."""
        return [float(rank[name]) for rank in self.ranks]

    def to_record(self) -> dict[str, Any]:
        """Plain data for the record, without single ranks."""
        return {k: v for k, v in asdict(self).items() if k != "ranks"} | {"cpu_s": self.cpu_s}


def run(setup: Setup, job: Job) -> Outcome:
    """Run one job to its end.

    Raises:
        RuntimeError: it failed; the message ends with its output.
    """
    return run_together(setup, [job])[0]


def run_program(
    setup: Setup, program: str, job: Mapping[str, Any], ranks: int, environment: Mapping[str, str] | None = None
) -> tuple[Outcome, Any]:
    """Run `benchmarks.programs.<program>` with a job, which it reads as JSON; returns its cost and its answer.

    Raises:
        RuntimeError: as `run` does.
    """
    with tempfile.TemporaryDirectory(prefix=f"{program}-", dir=setup.scratch) as folder:
        asked, answer = Path(folder, "job.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps(job), encoding="utf-8")
        given = (str(asked), str(answer))
        outcome = run(setup, Job(f"benchmarks.programs.{program}", given, ranks, environment or {}))
        return outcome, json.loads(answer.read_text(encoding="utf-8"))


def run_together(setup: Setup, jobs: Sequence[Job]) -> list[Outcome]:
    """Start all jobs at the same time and wait for all of them; raises as `run` does."""
    with tempfile.TemporaryDirectory(prefix="watch-", dir=setup.scratch) as parent:
        folders = [Path(parent, str(number)) for number in range(len(jobs))]
        before, start = Moment.now(), time.perf_counter()
        running = [_start(setup, job, folder) for job, folder in zip(jobs, folders, strict=True)]
        walls = [_finish(process, job, start) for process, job in zip(running, jobs, strict=True)]
        after = Moment.now()
        ranks_by_job = [[json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))] for folder in folders]
    others = others_share(before, after, sum(rank["cpu_s"] for ranks in ranks_by_job for rank in ranks))
    return [Outcome(wall_s, others, ranks) for wall_s, ranks in zip(walls, ranks_by_job, strict=True)]


def prepare(module: str, arguments: Sequence[str], folder: Path) -> str:
    """Run `python -m module` in `folder` to make an input; returns an error message, or "" if it succeeded."""
    folder.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True)
    return "" if done.returncode == 0 else f"{module} could not make an input: {done.stderr.strip()[-300:]}"


def environment() -> dict[str, str]:
    """Environment variables of every program: settings of Open MPI for small machines, and the path of this code."""
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return {**_ENVIRONMENT, **os.environ, "PYTHONPATH": path}


def _start(setup: Setup, job: Job, folder: Path) -> "subprocess.Popen[str]":
    folder.mkdir()
    line = [*setup.command(job.ranks), sys.executable, "-m", "benchmarks.programs.watch", str(folder), job.module]
    return subprocess.Popen(
        [*line, *job.arguments],
        cwd=folder,  # a pipeline.toml of the current folder must not change what is measured
        env={**environment(), **job.environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _finish(process: "subprocess.Popen[str]", job: Job, start: float) -> float:
    """Seconds from `start` to the end of a process."""
    output, _ = process.communicate()
    wall_s = time.perf_counter() - start
    if process.returncode != 0:
        end = "\n".join(output.splitlines()[-12:])
        raise RuntimeError(
            f"{job.module} on {job.ranks} ranks must end with status 0, got {process.returncode}; it printed:\n{end}"
        )
    return wall_s
