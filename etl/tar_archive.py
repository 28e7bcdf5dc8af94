"""Patches in a tar file, read from where they lie: an archive of half a million patches stays one file.

The names of all members are read once, and where the files of each patch lie is kept in the user's cache folder. The
tar file must not be compressed, as nothing in the middle of a compressed stream can be read alone.

Source: IEEE Std 1003.1, pax; Python's `tarfile`.
"""

import contextlib
import hashlib
import logging
import os
import re
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
from etl.files import replace_atomically
from etl.input_files import MOST_METADATA_BYTES, NO_LINKS, fault_text, open_regular
from etl.plural import counted

__all__ = ["PackedLocator", "PackedPatch", "compressed_tar_advice", "is_tar", "locate_patches"]

_log = logging.getLogger(__name__)

_ENDINGS = (*(f"_{band.name}.tif" for band in BANDS), "_labels_metadata.json")
"""What follows the patch's name in the names of its files."""

_MEMBER = re.compile(
    rf"(?:.*/)?(?P<patch>S2[A-D]_MSIL[^/]{{1,100}})/(?P=patch)(?P<ending>{'|'.join(map(re.escape, _ENDINGS))})",
    re.DOTALL,
)

_COMPRESSED = re.compile(r"(?P<name>.*\.(?:tar|t(?=gz|zst)))\.?(?P<kind>gz|zst)(?P<part>[.-]?\w{0,5})", re.IGNORECASE)

_ENTRY = np.dtype([("patch", "S108"), ("offset", "<i8", (len(_ENDINGS),)), ("size", "<i8", (len(_ENDINGS),))])
"""Files of one patch: where each begins in the tar file, -1 if it is not there, and its bytes."""

_MOST_FILE_BYTES = MOST_METADATA_BYTES
"""Most bytes of one file of a patch: real ones have 1 to 30 KB."""


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
    parts = f"{path.with_name(path.name.removesuffix(match['part']))}*" if match["part"] else str(path)
    return f"cat {parts} | {program} -dc > {name}"


@dataclass(frozen=True, slots=True)
class PackedPatch:
    """A patch in a tar file: what a patch's folder is elsewhere."""

    path: Path
    """The tar file and the patch's name below it, for messages."""

    archive: Path
    """The tar file."""

    places: tuple[tuple[int, int], ...]
    """First byte and bytes of each of its files; -1 and 0 of those that are not there."""

    @property
    def name(self) -> str:
        """Name of the patch."""
        return self.path.name

    def __str__(self) -> str:
        return str(self.path)

    def has(self, ending: str) -> bool:
        """Whether it has a file whose name ends so."""
        return self.places[_ENDINGS.index(ending)][0] >= 0

    def read(self, ending: str) -> bytes:
        """The bytes of its file whose name ends so, such as `_B02.tif`.

        Raises:
            FileNotFoundError: it is not there.
            OSError: it cannot be read.
        """
        offset, size = self.places[_ENDINGS.index(ending)]
        if offset < 0:
            raise FileNotFoundError(f"{self.path}{ending} is not in the tar file")
        data = os.pread(_descriptor(str(self.archive)), size, offset)
        if len(data) != size:
            raise OSError(f"{self.path}{ending} must have {size} bytes, but the tar file ends before")
        return data


@lru_cache(maxsize=4)
def _descriptor(path: str) -> int:
    """An open tar file; it stays open as long as the process."""
    return open_regular(path, NO_LINKS)


@dataclass(frozen=True, slots=True)
class PackedLocator:
    """Function from a patch's name to its place in a tar file; can be sent to other ranks, which map the same index."""

    archive: Path
    """The tar file."""

    repeated: int = 0
    """Patches that lie in several folders: of a tar file none, as its last member of a name counts."""

    def __call__(self, patch: str) -> PackedPatch:
        """The patch with this name; without files if it is not there."""
        return self.copies(patch)[0]

    def copies(self, patch: str) -> tuple[PackedPatch, ...]:
        """The same, alone."""
        entries, name = _index(self.archive), patch.encode(errors="replace")
        at = int(np.searchsorted(entries["patch"], name))
        if at == len(entries) or entries["patch"][at] != name:
            places = ((-1, 0),) * len(_ENDINGS)
        else:
            places = tuple(zip(entries["offset"][at].tolist(), entries["size"][at].tolist(), strict=True))
        return (PackedPatch(self.archive / patch, self.archive, places),)

    def holds(self, patch: str) -> bool:
        """Whether any file of the patch is there."""
        return any(offset >= 0 for offset, _ in self(patch).places)


def locate_patches(archive: Path) -> tuple[tuple[str, ...], PackedLocator]:
    """Names of all patches in a tar file, sorted, and where they are.

    Raises:
        ValueError: it is no tar file, is cut, or holds no patch.
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
    version = f"{archive.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}"
    name = hashlib.sha256(version.encode(errors="surrogateescape")).hexdigest()
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:  # this user has no home folder
        home = Path(os.devnull)
    kept = home / "sentinel-etl" / "tar-members" / f"{name}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError):
        entries: npt.NDArray[np.void] = np.load(kept, mmap_mode="r", allow_pickle=False)
        if entries.dtype == _ENTRY and entries.ndim == 1:
            return entries
    entries = _read_index(archive)
    # a cache that cannot be written: other ranks and runs read the tar file again
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with replace_atomically(kept, sync=False, concurrent=True) as temporary, temporary.open("wb") as file:
            np.save(file, entries, allow_pickle=False)
    return entries


def _read_index(archive: Path) -> npt.NDArray[np.void]:
    """Files of all patches in a tar file, by name of the patch; the last member of a name counts, as when unpacking."""
    numbers, offsets, sizes = dict[str, int](), array("q"), array("q")
    with os.fdopen(open_regular(archive, NO_LINKS), "rb", buffering=1 << 14) as file:
        end = os.fstat(file.fileno()).st_size
        try:
            for member in _members(file):
                offset, size = member.offset_data, member.size
                if member.islnk():  # the same file as an earlier member
                    first = _position(member.linkname, numbers)
                    offset, size = (-1, 0) if first is None else (offsets[first], sizes[first])
                if offset < 0 or (match := _MEMBER.fullmatch(member.name)) is None:
                    continue
                if match["patch"] not in numbers:
                    numbers[match["patch"]] = len(numbers)
                    offsets.extend((-1,) * len(_ENDINGS))
                    sizes.extend((0,) * len(_ENDINGS))
                at = _position(member.name, numbers)
                if at is None:
                    continue
                if size > _MOST_FILE_BYTES:
                    raise ValueError(f"{member.name} must have at most {_MOST_FILE_BYTES} bytes, got {size}")
                if offset + size > end:
                    raise ValueError(f"it ends within {member.name}")
                offsets[at], sizes[at] = offset, size
        except (tarfile.TarError, ValueError, EOFError) as error:
            raise ValueError(f"{archive} must be a whole tar file without compression: {fault_text(error)}") from None
    _log.info("%s holds %s", archive, counted(len(numbers), "patch"))
    entries = np.zeros(len(numbers), _ENTRY)
    entries["patch"] = [name.encode() for name in numbers]
    entries["offset"] = np.array(offsets, np.int64).reshape(-1, len(_ENDINGS))
    entries["size"] = np.array(sizes, np.int64).reshape(-1, len(_ENDINGS))
    entries.sort(order="patch")
    return entries


def _position(name: str, numbers: dict[str, int]) -> int | None:
    """Where the file of this name is in the list of all files of all patches; None if it is of none of `numbers`."""
    match = _MEMBER.fullmatch(name)
    if match is None or match["patch"] not in numbers:
        return None
    return numbers[match["patch"]] * len(_ENDINGS) + _ENDINGS.index(match["ending"])


def _members(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The files in an open tar file, and the hard links to them."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # type: ignore[attr-defined]  # millions of them would fill the memory
            if (member.isreg() and not member.issparse()) or member.islnk():
                yield member
