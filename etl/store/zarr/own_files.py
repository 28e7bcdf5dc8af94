"""Check that a Zarr store in a folder holds its files itself: no link, pipe or device stands in their place."""

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from etl.store.errors import ForeignFileError
from etl.store.location import Location

__all__ = ["open_own_file", "require_own_files"]


def require_own_files(location: Location, keys: Iterable[str]) -> None:
    """Check that objects of a store in a folder are files of that folder.

    One that is missing passes. The store itself may be behind a link.

    Raises:
        ForeignFileError: one is a link, a pipe or a device.
    """
    if location.is_remote:
        return
    top, passed = location.path, set[Path]()
    for key in keys:
        path = top
        *folders, name = key.split("/")
        for part in (*folders, name):
            path = path / part
            if path in passed:
                continue
            try:
                mode = path.lstat().st_mode
            except (FileNotFoundError, NotADirectoryError):
                break
            if not (stat.S_ISREG if part is name else stat.S_ISDIR)(mode):
                raise _refusal(path)
            passed.add(path)


def open_own_file(path: Path) -> int:
    """A descriptor of a regular file that is no link, open for reading.

    Raises:
        ForeignFileError: it is a link, a pipe or a device.
        OSError: it cannot be opened.
    """
    try:
        # without O_NONBLOCK the opening of a pipe waits for a writer
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _refusal(path) from None
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _refusal(path)
    return fd


def _refusal(path: Path) -> ForeignFileError:
    what = f"a link to {path.readlink()}" if path.is_symlink() else "not a regular file, or not a folder"
    advice = "a Zarr store must hold its files itself; copy it with cp -rL, or name the store that it leads to"
    return ForeignFileError(f"{path} is {what}; {advice}")
