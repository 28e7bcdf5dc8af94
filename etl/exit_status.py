"""Exit status of every command, and the error that all ranks of a job raise together.

No MPI here: `etl.mpi` and the trainer's Horovod workers both gather the errors of their ranks and word them alike.
"""

from collections.abc import Mapping
from enum import IntEnum

__all__ = ["CollectiveError", "ExitStatus", "JobError", "exit_status_of", "joint_message"]

_MOST_RANKS_LISTED = 8


class ExitStatus(IntEnum):
    """How a command ended; scripts and Slurm chains rely on these numbers."""

    DONE = 0
    """All asked for is done; rejected patches are counted and listed."""

    FAILED = 1
    """A disk, a file or a program failed."""

    BAD_INPUT = 2
    """Arguments or input cannot be used, or all patches were rejected; argparse ends with 2 as well."""

    REJECTED = 4
    """Done, but `--strict` was given, and patches were rejected or a list matches no patch of the catalogue."""

    RESUMABLE = 75
    """Stopped before its end; `--resume` completes it. Source: sysexits.h, EX_TEMPFAIL."""


class JobError(Exception):
    """An error that every rank raises together: rank 0 shows it, and all end with `status`."""

    def __init__(self, message: str, status: ExitStatus = ExitStatus.FAILED) -> None:
        super().__init__(message)
        self.status = status


class CollectiveError(Exception):
    """A collective call failed on this rank, and others may wait in it for ever: the job is to be ended at once.

    So it is neither an OSError nor a JobError, and must not be caught before `etl.mpi.launch`.
    """


def exit_status_of(error: JobError | ValueError | OSError) -> ExitStatus:
    """Exit status of an error: its own, bad input, a server that may answer later, or a failure."""
    if isinstance(error, JobError):
        return error.status
    if isinstance(error, ConnectionError):  # an OSError too, so it comes first
        return ExitStatus.RESUMABLE
    return ExitStatus.BAD_INPUT if isinstance(error, ValueError) else ExitStatus.FAILED


def joint_message(what: str, errors: Mapping[int, str], size: int, unit: str = "rank") -> str:
    """One message for what failed on some of `size` ranks: how many, which, and the first one's error.

    `errors`: text by rank, at least one; `unit`: what a rank is called.
    """
    first, text = min(errors.items())
    if len(errors) == size:
        return f"{what} failed: {text}"
    ranks = ", ".join(map(str, sorted(errors)[:_MOST_RANKS_LISTED]))
    more = ", ..." if len(errors) > _MOST_RANKS_LISTED else ""
    return f"{what} failed on {len(errors)} of {size} {unit}s [{ranks}{more}]; {unit} {first}: {text}"
