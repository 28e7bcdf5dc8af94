"""How far a job of a chain has come, read from the files that it leaves: the journal of a store, or a checkpoint."""

import json
import zipfile
from dataclasses import dataclass

import numpy as np

from etl.store.journal import Journal
from etl.store.location import Location
from etl.store.sidecar import read_file

__all__ = ["JobProgress", "read_progress"]


@dataclass(frozen=True, slots=True)
class JobProgress:
    """Rows or steps that are done and would not be done again."""

    done: int
    """Number of them; 0 before the first."""

    text: str
    """In words."""


def read_progress(mark: str) -> JobProgress:
    """Progress by the file or object `mark`: a store's journal, or a training's checkpoint (.npz).

    An empty `mark`, of a job that cannot be resumed, and a file that is not there yet give 0.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    if not mark:
        return JobProgress(0, "")
    location = Location.parse(mark)
    if mark.endswith(".npz"):
        return _of_checkpoint(location)
    return _of_journal(location)


def _of_journal(location: Location) -> JobProgress:
    text = read_file(location)
    if not text or text.startswith(b'{"stalled"'):  # a run that hung before there was a store leaves such lines alone
        return JobProgress(0, "no row")
    journal = Journal.read(location)
    rows = journal.fingerprint.get("rows")
    done = sum(stop - first for first, stop in journal.ranges)
    return JobProgress(done, f"{done} of {rows} rows" if isinstance(rows, int) else f"{done} rows")


def _of_checkpoint(location: Location) -> JobProgress:
    """Only the small member that holds the state is read, not the weights."""
    try:
        with np.load(location.path) as file:
            record = json.loads(file["said"].tobytes())
        done = record["state"]["step"]
    except FileNotFoundError:
        return JobProgress(0, "no checkpoint")
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{location} must be a checkpoint of trainer.run: {error!r}") from None
    return JobProgress(done, f"step {done}")
