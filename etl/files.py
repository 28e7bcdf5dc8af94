"""Replace files and folders atomically, so that readers never see a part of one; write all bytes that are given."""

import contextlib
import errno
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "NO_LOCKS", "close_synced", "pwrite_exact", "raise_open_files_limit", "remove_path", "replace_atomically",
    "require_writable", "sync_path", "temporary_path", "user_cache",
]  # fmt: skip

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of locking on a file system without locks: NFS without a lock server, Lustre mounted without -o flock."""


_FEWEST_OPEN_FILES = 64

_ENOUGH_OPEN_FILES = 65_536
"""Some programs try to close every number below the limit, so it should not be a billion."""


def raise_open_files_limit() -> str:
    """Let this process open as many files as it may; returns what is wrong if those are too few, else nothing.

    The usual limit of 1,024 can be too low for a reader of several pixel arrays in shards on many threads.
    """
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _ENOUGH_OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _ENOUGH_OPEN_FILES)
    if limit != resource.RLIM_INFINITY and limit < allowed:
        with contextlib.suppress(OSError, ValueError):  # the system can have a lower limit than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
            limit = allowed
    if limit == resource.RLIM_INFINITY or limit >= _FEWEST_OPEN_FILES:
        return ""
    return (
        f"a process must be able to open {_FEWEST_OPEN_FILES} files, got a limit of {limit}; raise it with ulimit -Hn "
        f"{_FEWEST_OPEN_FILES}, or in the settings of the batch system"
    )


def user_cache(name: str) -> Path:
    """Folder of this project in the user's cache folder; for a user without a home one that cannot be written."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        home = Path(os.devnull)
    return home / "sentinel-etl" / name


def temporary_path(path: Path, concurrent: bool = False) -> Path:
    """The name beside `path` to write it under: `store.h5.part`, or with the process id `store.h5.4711.part`."""
    return path.with_name(f"{path.name}.{os.getpid()}.part" if concurrent else f"{path.name}.part")


@contextlib.contextmanager
def replace_atomically(path: Path, *, sync: bool = True, concurrent: bool = False) -> Iterator[Path]:
    """Give a temporary path to write a file or folder to; after the block it is on the disk under the name `path`.

    If the block fails, what it wrote is removed and `path` stays as it was. A folder must not exist under `path` yet.

    Args:
        path: name of the file or folder.
        sync: wait until all bytes are on the disk; False for what can be written again after a power loss.
        concurrent: other processes may make `path` at the same time, as in a cache; the last one counts.
    """
    temporary = temporary_path(path, concurrent)
    remove_path(temporary)  # left by a killed process
    try:
        yield temporary
        if sync:
            for inner in sorted(temporary.rglob("*"), reverse=True):
                sync_path(inner)
            sync_path(temporary)
        temporary.replace(path)
    except BaseException:
        remove_path(temporary)
        raise
    if sync:
        sync_path(path.parent)  # the new name: without it a power loss can bring the old file back


def require_writable(path: Path) -> None:
    """Check, before long work, that a file can be written; the folder that is to hold it is made.

    Raises:
        OSError: it cannot, as it is a folder, or no file can be made in the folder.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} must be a file, is a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent):
        pass


def sync_path(path: Path) -> None:
    """Wait until the bytes of a file, written by whatever process, or the names in a folder are on the disk."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def close_synced(fd: int) -> None:
    """Close a file that was only read, or whose bytes were synced: an error of closing it then means nothing."""
    with contextlib.suppress(OSError):
        os.close(fd)


def pwrite_exact(fd: int, data: memoryview, start: int) -> None:
    """Write all of `data`, contiguous bytes, to an open file from byte `start` on.

    One call of the system can write less: Linux writes at most 2 GiB at once, and a disk that fills up writes a part.

    Raises:
        OSError: they were not written, or only in part.
    """
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], start + done)


def remove_path(path: Path) -> None:
    """Remove a file or a folder with all it holds; do nothing if there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
