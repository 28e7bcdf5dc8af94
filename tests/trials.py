"""Commands that are disturbed, by a fault of the disk or by a kill, and whether each ended as it must.

A command that fails says so and ends with a documented status. It leaves its older output, none, the whole new one, or
what its next run completes; and that run, undisturbed, leaves the same output as if nothing had happened.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hdf5plugin  # noqa: F401  # registers Zstandard, for h5py
import numpy as np
import psutil
import pyarrow.parquet as pq
from commands import begin, content, ranks, ranks_of
from injector import Fault, faults_of, injected, recorded, sites_in
from trial_cases import Case, train_base

__all__ = ["Outcome", "every_fault", "outputs", "prepare", "remove", "try_fault", "try_kill", "undisturbed"]

_STATUSES = {0, 1, 2, 75}
"""How a disturbed command may end: etl/exit_status.py."""

_OLD = b"old"
"""Content of the older output of a case."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one trial ended."""

    case: str
    disturbance: str
    status: int | None
    """Exit status of the disturbed command; None for a hang."""

    happened: bool
    """Whether the fault or kill met the command while it ran."""

    problem: str
    """What the command did not do as it must; empty if all is well."""

    seconds: float


def prepare(case: Case, base: Path, folder: Path) -> None:
    """Make the folder in which a case runs: copies of what it needs, and an older output."""
    folder.mkdir()
    needed = case.needs.split()
    if "done" in needed:
        train_base(base)
    for name in needed:
        copy = shutil.copytree if (base / name).is_dir() else shutil.copy
        copy(base / name, folder / name)
    if case.replaces:
        for name in case.leaves.split():
            (folder / name).write_bytes(_OLD)


def remove(folder: Path) -> None:
    """Remove what a trial left."""
    shutil.rmtree(folder, ignore_errors=True)
    for suffix in (".log", ".fired"):
        folder.with_name(folder.name + suffix).unlink(missing_ok=True)


def undisturbed(case: Case, base: Path, folder: Path) -> dict[str, Any]:
    """Outputs of a case when nothing disturbs it."""
    prepare(case, base, folder)
    done = ranks(case.size, *case.line, cwd=folder, timeout=case.timeout_s)
    assert done.returncode == 0, done.stderr
    return outputs(case, folder)


def every_fault(case: Case, base: Path, folder: Path, rank: int | None = None) -> list[Fault]:
    """Every fault at every call site of a case, which a run of it finds."""
    prepare(case, base, folder)
    log = folder.with_name(folder.name + ".log")
    done = ranks(case.size, *case.line, cwd=folder, timeout=case.timeout_s, environment=recorded(folder, log, rank))
    assert done.returncode == 0, done.stderr
    return faults_of(sites_in(log))


def try_fault(
    case: Case, base: Path, folder: Path, fault: Fault, reference: Mapping[str, Any], rank: int | None = None
) -> Outcome:
    """Run a case with one fault, on one rank or in whatever process meets it first, then once more without."""
    start, fired = time.monotonic(), folder.with_name(folder.name + ".fired")
    prepare(case, base, folder)
    environment = injected(folder, fault, fired, rank)
    status = None
    try:
        done = ranks(case.size, *case.line, cwd=folder, timeout=case.timeout_s, environment=environment)
        status = done.returncode
        problem = ending_problem(done) or output_problem(case, folder, done.returncode, reference)
    except AssertionError as error:
        problem = str(error)
    problem = problem or completing_problem(case, folder, reference)
    where = f"{fault}" if rank is None else f"{fault} on rank {rank}"
    return Outcome(case.name, where, status, fired.exists(), problem, time.monotonic() - start)


def try_kill(
    case: Case, base: Path, folder: Path, rng: random.Random, reference: Mapping[str, Any], lasts_s: float
) -> Outcome:
    """Run a case, kill it at a random moment of the `lasts_s` seconds that it takes, then run it once more."""
    start = time.monotonic()
    prepare(case, base, folder)
    victim, pause_s = rng.choice(["rank", "ranks", "launcher"]), rng.uniform(0, lasts_s)
    with folder.with_name(folder.name + ".log").open("w") as log:
        job = begin(case.size, *case.line, cwd=folder, stdout=log, stderr=log)
    with contextlib.suppress(subprocess.TimeoutExpired):
        job.wait(timeout=pause_s)
    happened, found = job.poll() is None, ranks_of(job)
    for process in {"rank": found[:1], "ranks": found, "launcher": []}[victim]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    if victim == "launcher" or not found:
        job.kill()
    problem = _end_of(job, found, case.timeout_s) or completing_problem(case, folder, reference)
    where = f"{victim} killed after {pause_s:.2f} s"
    return Outcome(case.name, where, job.returncode, happened, problem, time.monotonic() - start)


def _end_of(job: "subprocess.Popen[Any]", found: list[psutil.Process], timeout_s: float) -> str:
    """Wait for the end of a job that was killed, and of its ranks, which outlive mpirun for a moment."""
    try:
        job.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
        return f"it hung for {timeout_s} s after a kill"
    _, alive = psutil.wait_procs(found, timeout=timeout_s)
    return f"{len(alive)} ranks outlive the kill by {timeout_s} s" if alive else ""


def outputs(case: Case, folder: Path) -> dict[str, Any]:
    """What a case left, comparable; None for an output that is not there."""
    return {name: comparable(folder / name) if (folder / name).exists() else None for name in case.leaves.split()}


def comparable(path: Path) -> Any:
    """Content of a file or folder without what differs between two equal runs, such as seconds."""
    if path.suffix in (".h5", ".zarr"):
        return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in content(path).items()}
    if path.is_dir():
        return {str(inner.relative_to(path)): comparable(inner) for inner in path.rglob("*") if inner.is_file()}
    data = path.read_bytes()
    if data == _OLD:
        return data
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pydict()
    if path.suffix == ".json":
        return _timeless(json.loads(data.replace(str(path.parent).encode(), b".")))  # a manifest names its folder
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: file[name].tobytes() for name in file.files if name != "said"}  # which holds seconds
    return data


def _timeless(value: Any) -> Any:
    """A JSON value without keys that name seconds."""
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if "second" not in key}
    return value


def ending_problem(done: "subprocess.CompletedProcess[str]") -> str:
    """What is wrong with how a disturbed command ended: its status, or that it does not say why."""
    said = done.stdout + done.stderr
    if done.returncode not in _STATUSES:
        return f"it ended with {done.returncode}: {said[-2000:]}"
    if "Traceback (most recent call last)" in said or "Fatal Python error" in said:
        return f"it printed a traceback and ended with {done.returncode}: {said[-2500:]}"
    return "" if not done.returncode or said.strip() else f"it ended with {done.returncode} and no word"


def output_problem(case: Case, folder: Path, status: int, reference: Mapping[str, Any]) -> str:
    """What is wrong with the outputs of a disturbed command that ended with `status`."""
    if status and (case.again or case.name == "sample"):
        return ""  # its next run completes them
    try:
        left = outputs(case, folder)
    except Exception as error:  # whatever the reader of a broken file raises
        return f"it ended with {status} and left an output that cannot be read: {error!r}"
    if status == 0:
        well = left == reference or _rejected_rows(folder)
        return "" if well else "it ended with 0, but its output differs from that of an undisturbed run"
    before = dict.fromkeys(left, _OLD if case.replaces else None)
    wrong = [name for name in left if left[name] not in (before[name], reference[name])]
    return f"it ended with {status} and left neither the older nor the new {wrong[0]}" if wrong else ""


def _rejected_rows(folder: Path) -> int:
    """How many patches are listed as rejected: a command ends with 0 if it could not read some, and says so."""
    return sum(path.read_bytes().count(b"\n") - 1 for path in folder.glob("*.rejected.csv"))


def completing_problem(case: Case, folder: Path, reference: Mapping[str, Any]) -> str:
    """Run a disturbed case to its end, undisturbed: what is wrong then."""
    try:
        if case.command.startswith("etl.convert") and outputs(case, folder) == reference:
            return ""  # it refuses to replace a store
        done = ranks(case.size, *case.completing_line, cwd=folder, timeout=case.timeout_s)
        if done.returncode:
            return f"the next run ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
        return "" if outputs(case, folder) == reference else "the output of the next run differs"
    except Exception as error:  # whatever the reader of a broken file raises
        return f"after the next run: {error!r}"
