"""Patches in a tar file, read from where they lie: an archive of half a million patches stays one file.

The headers of all members are read once, and where the files of each patch lie is kept in the user's cache folder. The
tar file must not be compressed, as nothing in the middle of a compressed stream can be read alone.

Source: IEEE Std 1003.1, pax; Python's `tarfile`.
"""

import contextlib
import hashlib
import logging
import os
import re
import shlex
import tarfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from etl.bands import BANDS
from etl.files import replace_atomically, user_cache
from etl.heartbeat import now_doing
from etl.input_files import MOST_METADATA_BYTES, Links, fault_text, open_regular
from etl.plural import counted

__all__ = ["PackedLocator", "PackedPatch", "compressed_tar_advice", "is_tar", "locate_patches"]

_log = logging.getLogger(__name__)

_ENDINGS = (*(f"_{band.name}.tif" for band in BANDS), "_labels_metadata.json")
"""What follows the patch's name in the names of its files."""

_MEMBER = re.compile(
    # names as `etl.catalogue.names.PATCH_PATTERN` has them; others are no patches
    r"(?P<folder>(?:.*/)?)(?P<patch>S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{1,6}(?:_N\d{4}_R\d{3}_T\d{2}[A-Z]{3})?_\d{1,3}_\d{1,3})"
    rf"/(?P=patch)(?P<ending>{'|'.join(map(re.escape, _ENDINGS))})",
    re.DOTALL | re.ASCII,
)

_COMPRESSED = re.compile(r"(?P<name>.*\.(?:tar|t(?=gz|zst)))\.?(?P<kind>gz|zst)(?P<part>[.-]?\w{0,5})", re.IGNORECASE)

_FORM = 1
"""Number of the form of the index: to be raised when its content changes."""

_ENTRY = np.dtype([("patch", "S56"), ("offset", "<i8", (len(_ENDINGS),)), ("size", "<i4", (len(_ENDINGS),))])
"""Files of one patch: where each begins in the tar file, -1 if it is not there, and its bytes."""

_BLOCK_BYTES = 512
"""What a tar file consists of; two blocks of zeros end it."""

_TELL_EVERY = 10_000
"""Members between two notes that the listing makes progress."""


def is_tar(path: Path) -> bool:
    """Whether a path is that of a tar file without compression, by its name."""
    return path.name.lower().endswith(".tar")


def compressed_tar_advice(path: Path) -> str:
    """The command line that makes a tar file of a compressed one, whole or in parts; empty if it is none."""
    match = _COMPRESSED.fullmatch(path.name)
    if match is None:
        return ""
    program = "zstd" if match["kind"].lower() == "zst" else "gzip"
    name = match["name"] if match["name"].lower().endswith(".tar") else f"{match['name'][:-1]}tar"
    mark = match["part"][:1] if match["part"][:1] in (".", "-") else ""
    parts = shlex.quote(str(path).removesuffix(match["part"])) + (f"{mark}*" if match["part"] else "")
    return f"cat {parts} | {program} -dc > {shlex.quote(name)}"


@dataclass(frozen=True, slots=True)
class PackedPatch:
    """A patch in a tar file: what a patch's folder is elsewhere."""

    path: Path
    """The tar file and the patch's name below it, for messages."""

    archive: Path
    """The tar file."""

    number: int
    """Number of the patch in the index of the tar file; -1 if it is not there."""

    @property
    def name(self) -> str:
        """Name of the patch."""
        return self.path.name

    def __str__(self) -> str:
        return str(self.path)

    def has(self, ending: str) -> bool:
        """Whether it has a file whose name ends so, such as `_B02.tif`."""
        return self._place(ending)[0] >= 0

    def read(self, ending: str) -> bytes:
        """The bytes of its file whose name ends so.

        Raises:
            FileNotFoundError: it is not there.
            OSError: it cannot be read.
        """
        offset, size = self._place(ending)
        if offset < 0:
            raise FileNotFoundError(f"{self.path / self.name}{ending} is not in the tar file")
        data = os.pread(_descriptor(str(self.archive)), size, offset)
        while len(data) < size and (
            more := os.pread(_descriptor(str(self.archive)), size - len(data), offset + len(data))
        ):
            data += more  # a call can read a part
        if len(data) != size:
            raise OSError(f"{self.path / self.name}{ending} must have {size} bytes, but the tar file ends before")
        return data

    def _place(self, ending: str) -> tuple[int, int]:
        """First byte and bytes of a file; -1 and 0 if it is not there."""
        if self.number < 0:
            return -1, 0
        entry, at = _index(self.archive)[self.number], _ENDINGS.index(ending)
        return int(entry["offset"][at]), int(entry["size"][at])


@lru_cache(maxsize=4)
def _descriptor(path: str) -> int:
    """An open tar file; it stays open as long as the process."""
    return _open(Path(path))


def _open(path: Path) -> int:
    """Open a tar file, which may be a link."""
    return open_regular(path, Links.into(path))


@dataclass(frozen=True, slots=True)
class PackedLocator:
    """Function from a patch's name to its place in a tar file; can be sent to other ranks, which map the same index."""

    archive: Path
    """The tar file."""

    repeated: int = 0
    """Patches that lie in several folders: none, as such a tar file is refused."""

    def __call__(self, patch: str) -> PackedPatch:
        """The patch with this name; without files if it is not there."""
        names, name = _index(self.archive)["patch"], patch.encode(errors="replace")
        at = int(np.searchsorted(names, name))
        return PackedPatch(self.archive / patch, self.archive, at if at < len(names) and names[at] == name else -1)

    def copies(self, patch: str) -> tuple[PackedPatch, ...]:
        """The same, alone."""
        return (self(patch),)

    def holds(self, patch: str) -> bool:
        """Whether any file of the patch is there."""
        return self(patch).number >= 0


def locate_patches(archive: Path) -> tuple[tuple[str, ...], PackedLocator]:
    """Names of all patches in a tar file, sorted, and where they are.

    Raises:
        ValueError: it is no whole tar file, holds no patch, or one patch in several folders.
        OSError: it cannot be read.
    """
    names = tuple(_index(archive)["patch"].astype(str).tolist())
    if not names:
        raise ValueError(f"{archive} must hold patches, such as NAME/NAME_B02.tif, and holds none")
    return names, PackedLocator(archive)


@lru_cache(maxsize=4)
def _index(archive: Path) -> npt.NDArray[np.void]:
    """Files of all patches in a tar file, by name of the patch: from the cache, or else from the tar file."""
    stat = archive.stat()
    parts = (_FORM, *_ENDINGS, archive.resolve(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    name = hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogateescape")).hexdigest()
    kept = user_cache("tar-members") / f"{name}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        found: npt.NDArray[np.void] = np.load(kept, mmap_mode="r", allow_pickle=False)
        if found.dtype == _ENTRY and found.ndim == 1:
            return found
    entries = _read_index(archive)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(kept, sync=False, concurrent=True) as temporary, temporary.open("wb") as file:
            np.save(file, entries, allow_pickle=False)
    except OSError as error:
        _log.warning("%s cannot be written (%s): each rank, and each run, lists %s again", kept, error, archive)
    return entries


def _read_index(archive: Path) -> npt.NDArray[np.void]:
    """Files of all patches in a tar file, by name of the patch; the last member of a name counts, as when unpacking."""
    numbers, folders, offsets, sizes = dict[str, int](), list[str](), array("q"), array("q")
    with os.fdopen(_open(archive), "rb", buffering=1 << 14) as file:
        try:
            for count, member in enumerate(_members(file)):
                if count % _TELL_EVERY == 0:  # a watchdog sees that there is progress
                    now_doing(f"listing {archive}, member {count}")
                match = _MEMBER.fullmatch(member.name)
                if match is None:
                    continue
                offset, size = member.offset_data, member.size
                if member.islnk():  # the same file as an earlier member
                    first = _position(_MEMBER.fullmatch(member.linkname), numbers)
                    if first is None or offsets[first] < 0:
                        continue
                    offset, size = offsets[first], sizes[first]
                if match["patch"] not in numbers:
                    numbers[match["patch"]] = len(numbers)
                    folders.append(match["folder"])
                    offsets.extend((-1,) * len(_ENDINGS))
                    sizes.extend((0,) * len(_ENDINGS))
                if folders[numbers[match["patch"]]] != match["folder"]:
                    raise ValueError(f"{match['patch']} lies in two folders of it")
                at = _position(match, numbers) or 0
                # a file that is too large for one of a patch counts as not there, which rejects its patch
                offsets[at], sizes[at] = (offset, size) if size <= MOST_METADATA_BYTES else (-1, 0)
        except (
            tarfile.TarError,
            ArithmeticError,
            LookupError,
            ValueError,
            EOFError,
            RecursionError,
            MemoryError,
        ) as error:
            raise ValueError(f"{archive} must be a whole tar file without compression: {fault_text(error)}") from None
    _log.info("%s holds %s", archive, counted(len(numbers), "patch"))
    entries = np.zeros(len(numbers), _ENTRY)
    entries["patch"] = [name.encode() for name in numbers]
    entries["offset"] = np.array(offsets, np.int64).reshape(-1, len(_ENDINGS))
    entries["size"] = np.array(sizes, np.int64).reshape(-1, len(_ENDINGS))
    entries.sort(order="patch")
    return entries


def _position(match: re.Match[str] | None, numbers: dict[str, int]) -> int | None:
    """Where the file of this name is in the list of all files of all patches; None if it is of none of `numbers`."""
    if match is None or match["patch"] not in numbers:
        return None
    return numbers[match["patch"]] * len(_ENDINGS) + _ENDINGS.index(match["ending"])


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The files in an open tar file, and the hard links to them.

    Raises:
        ValueError: it is cut, or a header in it is damaged.
        tarfile.TarError, ArithmeticError, LookupError, RecursionError, MemoryError: a header is damaged.
    """
    end, before = os.fstat(file.fileno()).st_size, -1
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # millions of them would fill the memory
            if tar.offset <= before or member.size < 0:  # `tarfile` would read the same header for ever
                raise ValueError(f"the header at byte {member.offset} gives a negative size")
            before = tar.offset
            if member.offset_data + (member.size if member.isreg() else 0) > end:
                raise ValueError(f"it ends within {member.name}")
            if (member.isreg() and not member.issparse()) or member.islnk():
                yield member
        # `tarfile` takes a header that is cut or damaged for the end
        if os.pread(file.fileno(), _BLOCK_BYTES, tar.offset) != bytes(_BLOCK_BYTES):
            raise ValueError(f"it is cut, or has a damaged header, at byte {tar.offset}")
