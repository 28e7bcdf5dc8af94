"""Open the files of a source: regular files only, links only into folders that are allowed, and no more than a limit.

A source can be an archive that others made. A FIFO in it would wait for ever, a device has no end, and a link can lead
to any file of this machine. None of that is read; why not is told in words.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "MOST_BYTES",
    "MOST_FILES",
    "MOST_METADATA_BYTES",
    "NO_LINKS",
    "FileStat",
    "Links",
    "RefusedFileError",
    "check_link",
    "fault_text",
    "open_regular",
    "read_bytes",
    "refused_name",
    "require_regular",
    "shortened",
    "walk_folders",
]

MOST_METADATA_BYTES = 16 << 20
"""Most bytes of one file of metadata, XML or JSON: real ones have 1 KB to 2 MB, and parsing takes up to 50 times as
much memory."""

MOST_BYTES = 1 << 30
"""Most bytes of a file that is read whole: a band has 140 MB, as uncompressed GeoTIFF 240 MB."""

MOST_FILES = 100_000
"""Most files of a product: real ones have 100 to 400. More are another folder's, or made to fill memory."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}

_MOST_LETTERS = 300

_REFUSED_NAME = re.compile(r"/|(?:.*/)?\.\.(?:/|\Z)|.*[\0{]", re.DOTALL)


class RefusedFileError(OSError):
    """A file or folder must not be read; the message names it and says why."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.reason = reason
        """Why, as what follows the path in a sentence."""


class FileStat(NamedTuple):
    """What is known of a file without reading it."""

    size_bytes: int
    """Without compression."""

    changed_ns: int
    """Time of the last change of the file, or of the zip file with it, in nanoseconds since 1970."""

    crc32: int | None
    """Checksum that a zip file gives for it; None in a folder."""

    etag: str = ""
    """What the server of a bucket calls its version, mostly a digest of its bytes; empty elsewhere."""


@dataclass(frozen=True, slots=True)
class Links:
    """Into which folders the links of a source may lead."""

    folders: tuple[str, ...] = ()
    """Real paths: the source itself, and those of --allow-links."""

    @classmethod
    def into(cls, *paths: Path) -> "Links":
        """Links that may lead to each of `paths`, or to anything below it."""
        return cls(tuple(dict.fromkeys(os.path.realpath(path) for path in paths)))

    def and_into(self, path: Path) -> "Links":
        """The same, and links that may lead below `path`."""
        real = os.path.realpath(path)
        return self if self._allow(real) else Links((*self.folders, real))

    def target(self, path: str | Path) -> str:
        """The real path of a file or folder, which may be a link or lie behind one; it need not exist.

        Raises:
            RefusedFileError: it lies in none of the folders.
        """
        real = os.path.realpath(path)
        if not self._allow(real):
            raise RefusedFileError(
                path,
                f"is a link that leads out of --source, to {real}; if that is right, name a folder above it with "
                "--allow-links",
            )
        return real

    def _allow(self, real: str) -> bool:
        return any(real == folder or real.startswith(folder.rstrip("/") + "/") for folder in self.folders)


NO_LINKS = Links()
"""No link may be followed."""


def walk_folders(
    top: Path, links: Links, refused: MutableMapping[Path, str]
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Each folder from `top` down, also behind links, once, with the names of its folders and of its files.

    The caller may take folders out of the list before it asks for the next. FIFOs, devices, sockets, and links that
    lead elsewhere than `links` allow are left out, and put into `refused` with the reason.
    """
    seen, pending = set[tuple[int, int]](), [top]
    while pending:
        here = pending.pop()
        try:
            status = here.stat()
            key = status.st_dev, status.st_ino
            if key in seen:  # links can go in circles
                continue
            seen.add(key)
            folders, files = _list_folder(here, links, refused)
        except OSError:
            continue
        yield here, folders, files
        pending += [here / name for name in reversed(folders)]


def _list_folder(here: Path, links: Links, refused: MutableMapping[Path, str]) -> tuple[list[str], list[str]]:
    """Names of the folders, sorted, and of the regular files in a folder; a link to nothing counts as a file."""
    folders, files = list[str](), list[str]()
    with os.scandir(here) as entries:
        for entry in entries:  # what is no link costs no call of the system: there can be half a million
            try:
                if entry.is_symlink():
                    target = Path(links.target(entry.path))
                    if target.is_dir():
                        if not _is_above(target, here):  # it leads back, to what is searched already
                            folders.append(entry.name)
                        continue
                    if target.exists():
                        require_regular(entry.path)
                    files.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
                else:
                    require_regular(entry.path)
            except RefusedFileError as error:
                refused[here / entry.name] = error.reason
            except OSError as error:
                refused[here / entry.name] = f"cannot be read: {error.strerror}"
    folders.sort()
    return folders, files


def _is_above(folder: Path, here: Path) -> bool:
    """Whether `folder`, a real path, is `here` or lies above it."""
    return Path(os.path.realpath(here)).is_relative_to(folder)


def require_regular(path: str | Path, status: os.stat_result | None = None) -> None:
    """Check that a file, or what a link leads to, is a regular file, by its `status` if that is known; opens nothing.

    Raises:
        OSError: there is none.
        RefusedFileError: it is a FIFO, a device, a socket or a folder.
    """
    mode = (status or Path(path).stat()).st_mode
    if not stat.S_ISREG(mode):
        raise RefusedFileError(path, f"must be a regular file, got {_KINDS.get(stat.S_IFMT(mode), 'something else')}")


def open_regular(path: str | Path, links: Links) -> int:
    """A descriptor to read a regular file, which may be a link to where `links` allow; never waits.

    Raises:
        OSError: it cannot be opened.
        RefusedFileError: it is no regular file, or a link that leads elsewhere.
    """
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            fd = os.open(links.target(path), _FLAGS)
        elif error.errno == errno.ENXIO:
            raise RefusedFileError(path, "must be a regular file, got a socket or a device") from None
        else:
            raise
    try:
        require_regular(path, os.fstat(fd))
    except OSError:
        os.close(fd)
        raise
    return fd


def check_link(path: str, links: Links) -> str:
    """The path of a file or, if it is a link, of its target; looks at each folder once.

    Raises:
        RefusedFileError: it is a link, or lies behind one, that leads elsewhere than `links` allow.
    """
    _check_folder(str(Path(path).parent), links)
    return links.target(path) if Path(path).is_symlink() else path


@lru_cache
def _check_folder(folder: str, links: Links) -> None:
    if links.folders:
        links.target(folder)


def refused_name(name: str) -> str:
    """Why the name of a file in a table or list is not used; empty if it can be, as path below the source."""
    return "path must lie below --source, without .., { and NUL" if _REFUSED_NAME.match(name) else ""


def read_bytes(path: str | Path, links: Links, most: int = MOST_METADATA_BYTES) -> bytes:
    """All bytes of a regular file.

    Raises:
        OSError: as `open_regular`.
        RefusedFileError: as `open_regular`, or it has more than `most` bytes.
    """
    with open(open_regular(path, links), "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise RefusedFileError(path, f"must have at most {most} bytes, got {size}")
        data = file.readall() if size else file.read(most)  # of a file without size, as below /proc, a part
    return data or b""


def fault_text(error: Exception) -> str:
    """What went wrong while a file was read, in one line of limited length that can be printed and encoded."""
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text = next(iter(str(error).splitlines()), "") or type(error).__name__
    return shortened(text.encode(errors="backslashreplace").decode())


def shortened(text: str, letters: int = _MOST_LETTERS) -> str:
    """The text, cut after `letters` with three dots if it is longer."""
    return text if len(text) <= letters else f"{text[:letters]}..."
