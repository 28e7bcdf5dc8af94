"""The state of a chain: what waits or runs by squeue, what ended by sacct or by the records of the jobs."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from etl.exit_status import ExitStatus, JobError
from etl.submit.attempts import attempts_path, read_attempts
from etl.submit.record import read_chain
from etl.submit.settings import JOB_NAMES
from etl.submit.slurm import QueuedJob, accounted_states, queued_jobs

__all__ = ["JobStatus", "print_status"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """One line of the answer."""

    state: str
    """done, failed, cancelled, waiting, running or unknown."""

    text: str
    """What more is known, in words."""


def print_status(chain: Path) -> int:
    """Print the state of each job of the chain in this folder; returns 0 if all are done, 75 if it runs, else 1.

    Raises:
        ValueError: no chain was submitted there.
    """
    record = read_chain(chain)
    if record is None:
        raise ValueError(f"--chain must be the folder of a submitted chain, {chain} holds none")
    numbers = [record.numbers[name] for name in JOB_NAMES if name in record.numbers]
    queued: dict[str, QueuedJob] | None = None
    try:
        queued = queued_jobs(numbers)
    except JobError as error:
        log.warning("the queue cannot be asked, so this is what the jobs have recorded: %s", error)
    accounted = accounted_states(numbers)
    found = []
    for name in JOB_NAMES:
        if name in record.numbers:
            number = record.numbers[name]
            attempts = read_attempts(attempts_path(chain, name))
            status = _status_of(number, attempts, queued, accounted.get(number, ""))
            begun = sum(entry["event"] == "begin" and entry["id"] == number for entry in attempts)
            found.append(status.state)
            tries = f"{begun} attempt{'s' * (begun != 1)}"
            print(f"{name:<11} {number:>9}  {status.state:<10} {tries:<12} {status.text}".rstrip())
    if all(state == "done" for state in found):
        return ExitStatus.DONE
    return ExitStatus.RESUMABLE if {"waiting", "running"} & set(found) else ExitStatus.FAILED


def _status_of(
    number: str, attempts: Sequence[Mapping[str, Any]], queued: Mapping[str, QueuedJob] | None, accounted: str
) -> JobStatus:
    """State of the job of this number; `queued`: None if that is unknown; `accounted`: empty without accounting."""
    own = [entry for entry in attempts if entry["id"] == number]
    last = own[-1] if own else {}
    if queued is not None and number in queued:
        return _queued_status(queued[number], last)
    if last.get("event") == "end" and last["status"] == 0:
        return JobStatus("done", f"{last['time']} {last['text']}")
    if last and last["status"] not in (0, ExitStatus.RESUMABLE):
        return JobStatus("failed", last["message"])
    if queued is None:
        return JobStatus("unknown", f"last recorded: {last['event']} {last['time']}" if last else "not begun")
    if not last:
        why = f"{accounted}: " if accounted else ""
        return JobStatus("cancelled", f"{why}it has not begun; a job that it needs failed, or it was cancelled")
    return JobStatus("failed", f"{accounted or 'ended'} without a record of its end: killed or cancelled; see its log")


def _queued_status(job: QueuedJob, last: Mapping[str, Any]) -> JobStatus:
    done = f"; {last['text']} so far" if last.get("text") else ""
    if job.state in ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"):
        expected = f", expected to begin {job.begin}" if job.begin not in ("N/A", "") else ""
        return JobStatus("waiting", f"{job.reason}{expected}{done}")
    return JobStatus("running", f"{job.state.lower()} since {job.begin}{done}")
