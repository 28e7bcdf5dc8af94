"""The record of a chain, `chain.json` in its folder: the number of each job in Slurm."""

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from etl.exit_status import ExitStatus, JobError
from etl.files import NO_LOCKS, replace_atomically

__all__ = ["ChainRecord", "lock_chain", "read_chain", "write_chain"]

_NAME = "chain.json"


@dataclass(frozen=True, slots=True)
class ChainRecord:
    """What was submitted last."""

    numbers: Mapping[str, str]
    """Number of each job in Slurm, by its name; of a job that was done already, that of an earlier time."""

    settings: str
    """Digest of pipeline.toml."""

    complete: bool
    """Whether all jobs were submitted and released."""


def read_chain(chain: Path) -> ChainRecord | None:
    """The record in the folder of a chain; None if no chain was submitted.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    path = chain / _NAME
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        numbers = {str(name): str(number) for name, number in found["numbers"].items()}
        return ChainRecord(numbers, str(found["settings"]), bool(found["complete"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} must be the record of a chain: {error!r}; if no job of the chain is left, remove it"
        ) from None


def write_chain(chain: Path, record: ChainRecord) -> None:
    """Write the record into the folder of the chain."""
    values = {"numbers": dict(record.numbers), "settings": record.settings, "complete": record.complete}
    with replace_atomically(chain / _NAME) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def lock_chain(chain: Path) -> Iterator[None]:
    """Let no other process submit this chain in the `with` block; where the file system has no locks, do nothing.

    Raises:
        JobError: another process submits it.
    """
    with (chain / "chain.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JobError(f"another etl.submit submits the chain in {chain} now", ExitStatus.BAD_INPUT) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
