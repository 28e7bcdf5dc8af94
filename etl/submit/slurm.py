"""Slurm's commands: submit, release and cancel jobs, and ask for their states."""

import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from etl.exit_status import JobError

__all__ = ["QueuedJob", "accounted_states", "cancel_jobs", "queued_jobs", "release_job", "submit_script"]

_TIMEOUT_S = 120
"""A controller that restarts answers within a minute or not at all."""

_PAUSES_S = (1, 5)
"""Before the queue is asked again: a busy controller fails now and then, and a question can be repeated."""

_GONE = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}
"""States in which a job does not come back. Source: squeue(1), job state codes."""


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """A job as squeue lists it."""

    state: str
    """Such as PENDING or RUNNING."""

    reason: str
    """Why it waits, such as Priority or Dependency; None if it does not."""

    begin: str
    """When it began, or is expected to; N/A if that is unknown."""


def submit_script(script: Path, after: Sequence[str], hold: bool) -> str:
    """Submit a job script and return the number of the job.

    It begins once all jobs of the numbers `after` have ended with status 0, and is cancelled if one does not. With
    `hold` it also waits for `release_job`.

    Raises:
        JobError: sbatch refused it; its message says why.
    """
    options = ["--parsable"]
    if after:
        options += [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
    if hold:
        options.append("--hold")
    answer = _run("sbatch", *options, str(script))
    return answer.strip().splitlines()[-1].partition(";")[0]  # with several clusters: number;cluster


def release_job(number: str) -> None:
    """Let a job begin that was submitted with `hold`.

    Raises:
        JobError: it cannot be released.
    """
    _run("scontrol", "release", number)


def cancel_jobs(numbers: Sequence[str]) -> None:
    """Cancel jobs; those that have ended already are passed over.

    Raises:
        JobError: Slurm does not answer.
    """
    if numbers:
        _run("scancel", *numbers)


def queued_jobs(numbers: Sequence[str]) -> dict[str, QueuedJob]:
    """Those of the jobs that wait or run, by number.

    Raises:
        JobError: Slurm does not answer.
    """
    # of all jobs: asked for one that it has forgotten, squeue fails
    lines = _ask("squeue", "--me", "--noheader", "--format=%i|%T|%S|%r").splitlines()
    found = {}
    for line in lines:
        number, state, begin, reason = line.split("|", 3)
        if number in numbers and state not in _GONE:
            found[number] = QueuedJob(state, reason, begin)
    return found


def accounted_states(numbers: Sequence[str]) -> dict[str, str]:
    """State of each job by number, as Slurm's accounting has it, such as `TIMEOUT`; nothing without accounting."""
    command = ["sacct", "--allocations", "--noheader", "--parsable2", "--format=JobIDRaw,State,ExitCode,Elapsed"]
    try:
        answer = _run(*command, f"--jobs={','.join(numbers)}")
    except JobError:  # no accounting, or it does not answer: the records tell the rest
        return {}
    states = {}
    for line in answer.splitlines():
        number, state, *_ = line.split("|")
        states[number] = state.partition(" ")[0]  # CANCELLED by 1000
    return states


def _ask(*command: str) -> str:
    """What a command that changes nothing prints; it is tried three times."""
    for pause_s in _PAUSES_S if shutil.which(command[0]) else ():
        try:
            return _run(*command)
        except JobError:
            time.sleep(pause_s)
    return _run(*command)


def _run(*command: str) -> str:
    """What a command prints.

    A session of its own: Ctrl-C in the terminal must not end sbatch after it has submitted, and before it says so.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, start_new_session=True
        )
    except FileNotFoundError:
        raise JobError(
            f"{command[0]} is not there: run this on a login node of a cluster with Slurm, or see the scripts with "
            "--dry-run"
        ) from None
    except subprocess.TimeoutExpired:
        raise JobError(f"{command[0]} did not answer for {_TIMEOUT_S} s; try again later") from None
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        raise JobError(f"{' '.join(command)} failed with status {done.returncode}: {said}")
    return done.stdout
