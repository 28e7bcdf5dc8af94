"""`python -m etl.submit.attempts begin|end`: what each attempt of a job came to, and whether it is queued again.

The job scripts call it. A job keeps one file, `<job>.attempts` in the folder of the chain, with a JSON object in each
line, which is only added to: an attempt that was killed has a line of its beginning alone.
"""

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from etl.exit_status import ExitStatus
from etl.settings import SETTINGS_FILE
from etl.submit.progress import JobProgress, read_progress

__all__ = ["MOST_IDLE", "attempts_path", "digest_settings", "main", "read_attempts"]

MOST_IDLE = 3
"""Attempts in a row without progress after which a job is not queued again."""

_RESUMABLE = {ExitStatus.RESUMABLE, 128 + 9, 128 + 10, 128 + 14, 205}
"""Statuses after which a job goes on: its own; a rank killed, as without memory; SIGUSR1 to a command that has no
handler for it; SIGALRM to ranks whose job cannot end; Open MPI's mpirun that has lost a host."""


def attempts_path(chain: Path, job: str) -> Path:
    """The file of a job's attempts."""
    return chain / f"{job}.attempts"


def digest_settings(folder: Path = Path()) -> str:
    """SHA-256 of pipeline.toml in `folder`, of an empty file if there is none."""
    path = folder / SETTINGS_FILE
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()


def read_attempts(path: Path) -> list[dict[str, Any]]:
    """The lines of a job's attempts, oldest first; none if it has not begun. A last line that was cut off is left out.

    Raises:
        OSError: the file cannot be read.
    """
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # a full disk, or a kill, can leave a part of a line
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Note the begin or the end of an attempt; returns 0, 75 if the job shall be queued again, or another status.

    Arguments: `begin` or `end`, folder of the chain, name of the job, its mark of progress (see `read_progress`), the
    digest of the settings with which it was submitted; and, after `end`, the status of its command.
    """
    arguments = sys.argv[1:] if argv is None else argv
    try:
        return _note_attempt(*arguments)
    except OSError as error:
        print(f"chain: the attempt cannot be recorded, so the chain stops: {error}", file=sys.stderr, flush=True)
        return ExitStatus.FAILED


def _note_attempt(event: str, chain: str, job: str, mark: str, digest: str, *status: str) -> int:
    path = attempts_path(Path(chain), job)
    job_id = os.environ.get("SLURM_JOB_ID", "")
    earlier = [entry for entry in read_attempts(path) if entry.get("id") == job_id]
    progress = _progress(mark)
    entry = {"id": job_id, "event": event, "done": progress.done, "text": progress.text, "settings": digest}
    entry["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    if event == "begin":
        result, message = _begin(earlier, progress, digest)
    else:
        entry["command_status"] = int(status[0])
        result, message = _end(earlier, progress, int(status[0]))
    _add(path, {**entry, "status": result, "message": message})
    if message:
        print(f"chain: {job}: {message}", file=sys.stderr, flush=True)
    return result


def _progress(mark: str) -> JobProgress:
    """Progress; -1 with the reason if it cannot be read: the command itself says what to do about a damaged file."""
    try:
        return read_progress(mark)
    except (ValueError, OSError) as error:
        return JobProgress(-1, f"unknown: {error}")


def _begin(earlier: Sequence[Mapping[str, Any]], progress: JobProgress, digest: str) -> tuple[int, str]:
    if digest != digest_settings():
        return (
            ExitStatus.BAD_INPUT,
            f"{SETTINGS_FILE} must be as it was when the chain was submitted, and is another now; restore it, or "
            "submit the chain again: python -m etl.submit",
        )
    if _idle_attempts(earlier, progress) >= MOST_IDLE:  # attempts that were killed have noted no end
        return ExitStatus.FAILED, _no_progress(progress)
    return ExitStatus.DONE, ""


def _end(earlier: Sequence[Mapping[str, Any]], progress: JobProgress, status: int) -> tuple[int, str]:
    if status not in _RESUMABLE:
        return status, f"failed with status {status}; jobs that need it are cancelled" if status else ""
    if _idle_attempts(earlier, progress) >= MOST_IDLE:
        return ExitStatus.FAILED, _no_progress(progress)
    done = f", {progress.text}" if progress.text else ""
    return ExitStatus.RESUMABLE, f"stopped with status {status}{done}; queued again"


def _idle_attempts(earlier: Sequence[Mapping[str, Any]], progress: JobProgress) -> int:
    """Number of attempts, counted back from the last one, that began when as much was done as now."""
    begun = [entry["done"] for entry in earlier if entry["event"] == "begin" and entry["status"] == 0]
    count = 0
    while count < len(begun) and begun[-1 - count] == progress.done:
        count += 1
    return count


def _no_progress(progress: JobProgress) -> str:
    done = f" ({progress.text})" if progress.text else ""
    return (
        f"{MOST_IDLE} attempts in a row made no progress{done}: the chain stops. Read the log of this job; if its time "
        "limit is too short, raise it in the site file; then submit the chain again: python -m etl.submit"
    )


def _add(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line in one write; it begins a line of its own after one that was cut off."""
    text = path.read_bytes() if path.exists() else b""
    start = b"" if text.endswith(b"\n") or not text else b"\n"
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(fd, start + json.dumps(dict(entry)).encode() + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
