"""One download of an archive of patches, from settings to a folder: the files of its record at Zenodo.

    OUT/NAME                               a file, once its MD5 is the one that the record publishes
    OUT/.download/archive/NAME/MD5.part    the beginning of a file with this MD5
    OUT/.download/archive/NAME/verified    MD5, bytes and time of change of OUT/NAME, when it was last compared

A file that came another way, such as by curl, is read and compared once, and counts as there if its MD5 is right.
"""

import contextlib
import hashlib
import json
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from etl.download.fetch import DamagedFileError, FileFetcher, RemoteSource
from etl.download.remote import MissingFileError
from etl.download.settings import DownloadSettings
from etl.download.target import FolderTarget, Target
from etl.download.workers import Arrived, fetch_threads
from etl.download.zenodo import ARCHIVE_RECORDS, PublishedFile, ZenodoFiles, published_files, record_url
from etl.exit_status import ExitStatus
from etl.files import sync_path
from etl.plural import counted
from etl.progress import report_progress
from etl.settings import settings_record

__all__ = ["download_archive"]

log = logging.getLogger("etl.download")

_WAIT_S = 1.0
"""Seconds between two looks at a file that another run fetches."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a file."""

    name: str
    state: str
    """fetched, present, missing, damaged, or failed: a later run can fetch it."""
    size_bytes: int
    md5: str
    reason: str = ""


def download_archive(settings: DownloadSettings) -> ExitStatus:
    """Fetch the files of an archive that `settings` ask for, print and record what became of them; the exit status.

    Raises:
        ValueError: the settings cannot be used.
        ConnectionError: the service does not answer, or some files could not be fetched; a later run goes on.
        OSError: there is too little space, something cannot be written, or a file is not as published.
    """
    start = time.monotonic()
    url = record_url(settings.zenodo_url, ARCHIVE_RECORDS[str(settings.archive)])
    wanted = _chosen(published_files(url, settings.attempts), settings.archive_files)
    folder = _ArchiveFolder(settings.out)
    there = {file.name for file in wanted if folder.holds(file, compare=not settings.dry_run)}
    to_fetch = [file for file in wanted if file.name not in there]
    left = sum(map(folder.left_bytes, to_fetch))
    if settings.dry_run:
        _print_expected(settings, wanted, folder, there)
        return ExitStatus.DONE
    folder.require_space(left)
    target = FolderTarget(settings.out, settings.connections)
    target.make()
    outcomes = [_outcome(file, "present") for file in wanted if file.name in there]
    with report_progress("download", left >> 20, "MiB") as show:
        arrived = Arrived(show)
        fetcher = FileFetcher(target, settings.attempts, arrived.add, threading.Event())
        run = _ArchiveRun(fetcher, ZenodoFiles(), folder, target, url)
        with fetch_threads(settings.connections, "file", fetcher.stopping) as pool:
            outcomes += [future.result() for future in [pool.submit(run.fetch, file) for file in to_fetch]]
    outcomes.sort(key=lambda outcome: outcome.name)
    target.write_record(_record(settings, outcomes, arrived.bytes, time.monotonic() - start))
    return _summarise(settings, outcomes, arrived.bytes)


def _chosen(files: Sequence[PublishedFile], patterns: str) -> list[PublishedFile]:
    """The files whose names match one of some patterns, which commas separate.

    Raises:
        ValueError: a pattern matches none.
    """
    names = [text.strip() for text in patterns.split(",") if text.strip()]
    for pattern in names:
        if not any(fnmatchcase(file.name, pattern) for file in files):
            listed = ", ".join(file.name for file in files)
            raise ValueError(f"--archive-files: {pattern[:80]!r} must match a file of the record, which has {listed}")
    return [file for file in files if any(fnmatchcase(file.name, pattern) for pattern in names)]


class _ArchiveFolder:
    """The folder that files are fetched into."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def place(self, file: PublishedFile) -> Path:
        """Where a file is once it is whole."""
        return self._out / file.name

    def begun(self, file: PublishedFile) -> Path:
        """Where a file is gathered: its beginning is beside this, with .part."""
        return self._out / ".download" / "archive" / file.name / file.md5

    def holds(self, file: PublishedFile, compare: bool) -> bool:
        """Whether a file is in its place; one that was not compared yet is read whole if `compare`, else trusted."""
        path = self.place(file)
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return False
        if compare and not self.is_verified(file):
            log.info("%s was not compared with its MD5 yet: reading it", path)
            if _md5_of(path) != file.md5:
                log.warning("%s must have the MD5 %s; it has another, and is fetched again", path, file.md5)
                return False
            self._write_mark(file)
        return True

    def is_verified(self, file: PublishedFile) -> bool:
        """Whether a file is in its place as it was when it was compared."""
        path, mark = self.place(file), self._mark(file)
        return path.is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == _mark_text(path, file)

    def left_bytes(self, file: PublishedFile) -> int:
        """Bytes that are still to be fetched of a file that is not there."""
        with contextlib.suppress(FileNotFoundError):
            return max(0, file.size_bytes - _part_of(self.begun(file)).stat().st_size)
        return file.size_bytes

    def require_space(self, size_bytes: int) -> None:
        """Raise an OSError unless so many bytes are free."""
        here = next(path for path in (self._out.absolute(), *self._out.absolute().parents) if path.exists())
        free = shutil.disk_usage(here).free
        if free < size_bytes:
            raise OSError(
                f"{self._out} must have {size_bytes:,} bytes free for what is to be fetched, has {free:,}; make space, "
                "name another folder with --out, or fewer files with --archive-files"
            )

    def remove_others(self, file: PublishedFile) -> None:
        """Remove beginnings of another file that had the same name."""
        for path in self.begun(file).parent.glob("*.part"):
            if path != _part_of(self.begun(file)):
                path.unlink()

    def finish(self, file: PublishedFile) -> None:
        """Put a file that was fetched and compared in its place."""
        self.begun(file).replace(self.place(file))
        sync_path(self._out)
        self._write_mark(file)

    def _mark(self, file: PublishedFile) -> Path:
        return self.begun(file).with_name("verified")

    def _write_mark(self, file: PublishedFile) -> None:
        self._mark(file).parent.mkdir(parents=True, exist_ok=True)
        self._mark(file).write_text(_mark_text(self.place(file), file), encoding="utf-8")


def _part_of(begun: Path) -> Path:
    return begun.with_name(f"{begun.name}.part")


def _mark_text(path: Path, file: PublishedFile) -> str:
    stat = path.stat()
    return f"{file.md5} {stat.st_size} {stat.st_mtime_ns}\n"


def _md5_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@dataclass(frozen=True, slots=True)
class _ArchiveRun:
    """Fetches files of a record; used by several threads."""

    fetcher: FileFetcher
    remote: ZenodoFiles
    folder: _ArchiveFolder
    target: Target
    url: str
    """Address of the record."""

    def fetch(self, file: PublishedFile) -> _Outcome:
        """Fetch a file, or wait until another run has, and tell what became of it."""
        while True:
            with self.target.product(file.name) as is_held:
                if is_held:
                    return self._fetch_held(file)
            if self.fetcher.stopping.wait(_WAIT_S):
                return _outcome(file, "failed", "the run ends")

    def _fetch_held(self, file: PublishedFile) -> _Outcome:
        if self.folder.is_verified(file):  # another run has fetched it meanwhile
            return _outcome(file, "present")
        pieces = partial(self.remote.pieces, file)
        try:
            self.folder.remove_others(file)
            source = RemoteSource(file.name, pieces, True, ("MD5", file.md5), self.url)
            self.fetcher.fetch(source, self.folder.begun(file))
            self.folder.finish(file)
        except ConnectionError as error:
            return _outcome(file, "failed", str(error))
        except MissingFileError as error:
            return _outcome(file, "missing", str(error))
        except DamagedFileError as error:
            return _outcome(file, "damaged", str(error))
        return _outcome(file, "fetched")


def _outcome(file: PublishedFile, state: str, reason: str = "") -> _Outcome:
    return _Outcome(file.name, state, file.size_bytes, file.md5, reason)


def _record(settings: DownloadSettings, outcomes: Sequence[_Outcome], fetched_bytes: int, seconds: float) -> str:
    record = {
        "settings": settings_record(settings),
        "seconds": round(seconds, 3),
        "fetched_bytes": fetched_bytes,
        "counts": dict(Counter(outcome.state for outcome in outcomes)),
        "files": [{name: getattr(outcome, name) for name in outcome.__slots__} for outcome in outcomes],
    }
    return json.dumps(record, indent=1) + "\n"


def _print_expected(
    settings: DownloadSettings, files: Sequence[PublishedFile], folder: _ArchiveFolder, there: set[str]
) -> None:
    left = {file.name: 0 if file.name in there else folder.left_bytes(file) for file in files}
    for file in files:
        state = "there already" if file.name in there else f"{left[file.name]:,} to fetch"
        print(f"{file.name}: {file.size_bytes:,} bytes, {state}")
    total, count = sum(left.values()), len(files) - len(there)
    hours = total / 2**20 / settings.rate_mib / 3600
    print(
        f"{settings.out}: {counted(count, 'file')} to fetch, {total / 2**30:,.2f} GiB; {hours:,.1f} hours at "
        f"{settings.rate_mib:g} MiB/s; {len(there)} there already"
    )


def _summarise(settings: DownloadSettings, outcomes: Sequence[_Outcome], fetched_bytes: int) -> ExitStatus:
    """Print how much is there.

    Raises:
        ConnectionError: a file could not be fetched.
        OSError: a file is not there, or not as published.
    """
    counts = Counter(outcome.state for outcome in outcomes)
    lacking = [outcome for outcome in outcomes if outcome.reason]
    for outcome in lacking:
        log.warning("%s: %s: %s", outcome.name, outcome.state, outcome.reason)
    amount = f"{counted(counts['fetched'], 'file')} fetched ({fetched_bytes / 2**20:,.1f} MiB)"
    print(f"{settings.out}: {amount}, {counts['present']} there already, {len(lacking)} not available")
    if not lacking:
        return ExitStatus.DONE
    text = f"{counted(len(lacking), 'file')} not fetched, the first: {lacking[0].reason}"
    raise ConnectionError(text) if counts["failed"] else OSError(text)
