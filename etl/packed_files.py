"""Names and bytes of all files in a folder or a zip file, or in a bucket, as far as they may be read."""

import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, FileIO
from pathlib import Path, PurePosixPath
from typing import cast

from etl.bucket_files import BucketFiles, is_remote
from etl.input_files import (
    MOST_BYTES,
    MOST_FILES,
    FileStat,
    Links,
    RefusedFileError,
    open_regular,
    read_bytes,
    walk_folders,
)

__all__ = ["MOST_FILES", "FolderFiles", "RangeFile", "ZipFiles", "files_in"]

_MOST_DIRECTORY_BYTES = 8 << 20
"""Most bytes of the list of files in a zip file, which is read at once."""

_LOCAL_HEADER, _LOCAL_SIGNATURE = struct.Struct("<4s22xHH"), b"PK\3\4"
"""What precedes a file in a zip file: a signature, and at its end the lengths of the name and of more that follow."""

_ENCRYPTED = 0x1
"""Flag of an encrypted file."""

_UNPACKED_BY_GDAL = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class RangeFile:
    """A file, open for reading of any range of its bytes."""

    def __init__(self, file: FileIO | bytes, start: int, size_bytes: int) -> None:
        """Args: bytes, or an open file in which this one begins at byte `start`; its size."""
        self.size_bytes = size_bytes
        """Size of the file."""
        self._file, self._start = file, start

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, fewer at the end of the file.

        Raises:
            OSError: they cannot be read.
        """
        size = max(0, min(size, self.size_bytes - offset))
        if isinstance(self._file, bytes):
            return self._file[offset : offset + size]
        return os.pread(self._file.fileno(), size, self._start + offset)


class FolderFiles:
    """The files below a folder, also behind links, by their paths relative to it."""

    def __init__(self, path: Path, links: Links) -> None:
        """List the files; links may also lead to other places within the folder.

        Raises:
            RefusedFileError: there are too many.
        """
        self.path = path
        self.refused = dict[str, str]()
        """Why files and folders are left out, by their paths."""
        self.names = list[str]()
        """Paths of all others."""
        self._links, refused = links.and_into(path), dict[Path, str]()
        for here, _, names in walk_folders(path, self._links, refused):
            below = here.relative_to(path)
            self.names += [str(below / name) for name in names]
            if len(self.names) > MOST_FILES:
                raise RefusedFileError(
                    path, f"must hold at most {MOST_FILES} files, got more; does a link in it lead elsewhere?"
                )
        self.refused |= {str(item.relative_to(path)): reason for item, reason in refused.items()}

    def gdal_path(self, name: str) -> str:
        """The path by which GDAL opens a file."""
        return str(self.path / name)

    @contextmanager
    def open(self, name: str) -> Iterator[BufferedIOBase]:
        """A file, open for reading."""
        with os.fdopen(open_regular(self.path / name, self._links), "rb") as file:
            self._size_of(file.fileno(), name)
            yield file

    def open_ranges(self, name: str) -> RangeFile:
        """A file, open for reading of any range of its bytes."""
        file = FileIO(open_regular(self.path / name, self._links), "rb")
        return RangeFile(file, 0, self._size_of(file.fileno(), name))

    def _size_of(self, fd: int, name: str) -> int:
        """Size of an open file."""
        size = os.fstat(fd).st_size
        if size > MOST_BYTES:  # a file with holes can have any size
            raise RefusedFileError(self.path / name, f"must have at most {MOST_BYTES} bytes, got {size}")
        return size

    def stat(self, name: str) -> FileStat:
        """What is known of a file without reading it."""
        status = (self.path / name).stat()
        return FileStat(status.st_size, status.st_ctime_ns, None)

    def read(self, name: str, most: int) -> bytes:
        """All bytes of a file, which must not be more than `most`."""
        return read_bytes(self.path / name, self._links, most)


class ZipFiles:
    """The files in a zip file, by the names under which GDAL opens them; folders are left out."""

    def __init__(self, path: Path) -> None:
        """List the files.

        Raises:
            OSError, ValueError, NotImplementedError, zipfile.BadZipFile: it is no zip file, or a broken one.
        """
        self.path = path
        self.refused = dict[str, str]()
        """Why files are left out, by their names."""
        if not _has_paired_braces(str(path)):
            raise RefusedFileError(path, "must have as many { as } in its path, in pairs, as GDAL reads it; rename it")
        with _open_zip(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith(("/", "\\"))]
        self._entries = dict[str, zipfile.ZipInfo]()
        for entry in entries:
            # GDAL takes one ./ from the front, then replaces backslashes, which some programs on Windows write
            name = entry.filename.removeprefix("./").replace("\\", "/")
            if reason := _why_refused(name, entry):
                self.refused[name] = reason
            elif name in self._entries:
                raise zipfile.BadZipFile(f"it must hold each file once, got {name} twice")
            else:
                self._entries[name] = entry

    @property
    def names(self) -> list[str]:
        """Names of all files that are not refused."""
        return list(self._entries)

    def gdal_path(self, name: str) -> str:
        """The path by which GDAL opens a file."""
        return f"/vsizip/{{{self.path}}}/{name}"

    @contextmanager
    def open(self, name: str) -> Iterator[BufferedIOBase]:
        """A file, open for reading its decompressed bytes."""
        with _open_zip(self.path) as archive, archive.open(self._entries[name].filename) as member:
            yield cast("BufferedIOBase", member)

    def open_ranges(self, name: str) -> RangeFile:
        """A file, open for reading of any range of its decompressed bytes; one that is compressed is read whole.

        Raises:
            OSError, zipfile.BadZipFile: as `open`; or its place in the zip file is not where the directory says.
        """
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & _ENCRYPTED:
            with self.open(name) as member:
                data = member.read()
            return RangeFile(data, 0, len(data))
        file = FileIO(self.path, "rb")
        head = os.pread(file.fileno(), _LOCAL_HEADER.size, entry.header_offset)
        signature, name_bytes, extra_bytes = _LOCAL_HEADER.unpack(head.ljust(_LOCAL_HEADER.size, b"\0"))
        if signature != _LOCAL_SIGNATURE:
            raise zipfile.BadZipFile(f"{name} does not begin where the list of files says")
        return RangeFile(file, entry.header_offset + _LOCAL_HEADER.size + name_bytes + extra_bytes, entry.file_size)

    def stat(self, name: str) -> FileStat:
        """What is known of a file without reading it."""
        entry = self._entries[name]
        return FileStat(entry.file_size, self.path.stat().st_ctime_ns, entry.CRC)

    def read(self, name: str, most: int) -> bytes:
        """All decompressed bytes of a file, which must not be more than `most`, whatever the zip file says."""
        with self.open(name) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise RefusedFileError(f"{self.path}: {name}", f"must have at most {most} bytes, got more")
        return data


def files_in(path: Path, links: Links) -> FolderFiles | ZipFiles | BucketFiles:
    """The files in a folder or zip file, or below a prefix of a bucket; none if `path` is none of these."""
    if is_remote(path):
        return BucketFiles(path)
    return ZipFiles(path) if path.is_file() else FolderFiles(path, links)


def _has_paired_braces(path: str) -> bool:
    """Whether each { in a path is closed by a } behind it; GDAL is given the path of a zip file between braces."""
    depth = 0
    for letter in path:
        depth += (letter == "{") - (letter == "}")
        if depth < 0:
            return False
    return depth == 0


def _why_refused(name: str, entry: zipfile.ZipInfo) -> str:
    """Why a file of a zip file is not read; empty if it can be."""
    if ".." in PurePosixPath(name).parts or name.startswith("/"):
        return "must have a name that leads to no other folder"
    if entry.compress_type not in _UNPACKED_BY_GDAL:
        return "must be stored or deflated, which is what GDAL unpacks"
    if entry.file_size > MOST_BYTES:
        return f"must have at most {MOST_BYTES} bytes, got {entry.file_size}"
    return ""


class _BoundedFile(FileIO):
    """A file that is never read in large pieces: zipfile reads the whole directory of a zip file at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MOST_DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its list of files must have at most {_MOST_DIRECTORY_BYTES} bytes, got {size}")
        return super().read(size) or b""


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    with _BoundedFile(path) as file, zipfile.ZipFile(file) as archive:
        yield archive
