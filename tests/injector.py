"""Make one call of a file function fail in a command that is run: tests/faults/injector.c, preloaded."""

import errno
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["FAULTS", "SHORT", "Fault", "Site", "faults_of", "injected", "library", "recorded", "sites_in"]

SOURCE = Path(__file__).parent / "faults" / "injector.c"

SHORT = "short"
"""A read or write that transfers a part of the bytes."""

_READ = ("EIO", "EINTR", "ESTALE", SHORT)
_WRITE = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EINTR", "ESTALE", SHORT)
_RESERVE = ("ENOSPC", "EDQUOT", "EFBIG", "EIO", "EINTR")
_SYNC = ("EIO", "ENOSPC", "EDQUOT", "EINTR")
_LOCK = ("ENOLCK", "EINTR", "EIO")
_NAME = ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO", "ESTALE")

FAULTS = {
    "open_read": ("EIO", "EINTR", "EMFILE", "EACCES", "ESTALE"),
    "open_write": ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EMFILE", "EIO", "EINTR", "ESTALE"),
    "read": _READ, "pread": _READ, "preadv": _READ, "fread": ("EIO", "ESTALE"),
    "write": _WRITE, "pwrite": _WRITE, "pwritev": _WRITE, "fwrite": ("ENOSPC", "EIO", "EDQUOT"),
    "fsync": _SYNC, "fdatasync": _SYNC, "close": _SYNC,
    "close_read": (),  # an error of close is one of bytes that were written
    "ftruncate": _RESERVE, "fallocate": _RESERVE, "posix_fallocate": (*_RESERVE, "EOPNOTSUPP"),
    "rename": _NAME, "mkdir": _NAME, "unlink": ("EROFS", "EACCES", "EIO", "ESTALE"),
    "flock": _LOCK, "fcntl": _LOCK, "mmap": ("ENOMEM", "EACCES", "ENODEV"),
}  # fmt: skip
"""Errors that each function can meet, by its name in the injector's log."""

_LASTING = ("ENOSPC", "EIO")
"""Errors that are also tried as lasting: a disk that is full, or broken, stays so."""


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """A function that a command calls on one file, and how often."""

    function: str
    path: str  # below the command's folder; numbers of processes are wild cards
    calls: int


@dataclass(frozen=True, slots=True)
class Fault:
    """One call that fails."""

    function: str
    path: str
    call: int  # from 1
    error: str  # a name of errno, or SHORT
    lasts: bool = False  # so do all later calls of the function

    def __str__(self) -> str:
        return f"{self.function} {self.path} {self.call} {self.error}{' lasting' * self.lasts}"

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """The fault that `str` wrote."""
        function, path, call, error, *lasting = text.split()
        return cls(function, path, int(call), error, bool(lasting))


@functools.cache
def library() -> Path:
    """The compiled injector; the test is skipped where there is no compiler or no glibc."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the fault injector")
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    built = Path(tempfile.gettempdir()) / f"sentinel-etl-injector-{os.getuid()}-{digest}.so"
    if not built.exists():
        part = built.with_suffix(f".{os.getpid()}")
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(part), str(SOURCE), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"the fault injector cannot be built here: {done.stderr.strip()[-300:]}")
        part.replace(built)
    return built


def recorded(folder: Path, log: Path, rank: int | None = None) -> dict[str, str]:
    """Environment of a command of which the calls below `folder`, of one rank or of all processes, go to `log`."""
    return {**_watched(folder, rank), "FAULT_LOG": str(log)}


def injected(folder: Path, fault: Fault, fired: Path, rank: int | None = None) -> dict[str, str]:
    """Environment of a command in which `fault` happens once; then the file `fired` is there."""
    return {
        **_watched(folder, rank),
        "FAULT_FUNCTION": fault.function,
        "FAULT_PATH": fault.path,
        "FAULT_CALL": str(fault.call),
        "FAULT_ERRNO": "0" if fault.error == SHORT else str(getattr(errno, fault.error)),
        "FAULT_FIRED": str(fired),
        **({"FAULT_LASTS": "1"} if fault.lasts else {}),
    }


def _watched(folder: Path, rank: int | None) -> dict[str, str]:
    watched = {"LD_PRELOAD": str(library()), "FAULT_FOLDER": str(folder.resolve())}
    return watched if rank is None else {**watched, "FAULT_RANK": str(rank)}


def sites_in(log: Path) -> list[Site]:
    """Sites in a log of the injector, in alphabetical order."""
    lines = log.read_text(errors="surrogateescape").splitlines() if log.exists() else []
    calls = Counter(tuple(_pattern(line).split(" ", 1)) for line in lines)
    return sorted(Site(function, path, count) for (function, path), count in calls.items() if " " not in path)


def _pattern(line: str) -> str:
    """A line of the log with wild cards where two runs differ: ids of processes, random names, seconds since 1970."""
    line = re.sub(r"\.\d+(?=\.part\b|\.v2$)", ".*", line.replace("[", "?").replace("]", "?"))
    return re.sub(r"(events\.out\.tfevents).*|(?<=/tmp)\w{8}\b", r"\1*", line)


def faults_of(sites: Iterable[Site]) -> list[Fault]:
    """Every fault at every site; of many calls at one site the first two, one in the middle and the last."""
    return [
        Fault(site.function, site.path, call, error, lasting)
        for site in sites
        for call in sorted({1, min(2, site.calls), (site.calls + 1) // 2, site.calls})
        for error in FAULTS[site.function]
        for lasting in ((False, True) if error in _LASTING else (False,))
    ]
