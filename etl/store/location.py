"""Where a store and the files beside it are: a path of the file system, or a key in an S3 bucket."""

import os
import posixpath
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal, Self

__all__ = ["DEFAULT_STORE", "HDF5_SUFFIXES", "MANIFEST_SUFFIX", "Location", "format_of"]

HDF5_SUFFIXES = (".h5", ".hdf5")
"""Suffixes of an HDF5 store."""

_FORMATS: dict[str, Literal["HDF5", "Zarr"]] = {".h5": "HDF5", ".hdf5": "HDF5", ".zarr": "Zarr"}

MANIFEST_SUFFIX = ".json"
"""Suffix of a manifest: an HDF5 store described as Zarr, which etl.convert writes."""


@dataclass(frozen=True, slots=True)
class Location:
    """Location of a store or of a file beside it: a path of the file system, or a key in an S3 bucket."""

    key: PurePosixPath
    """Path in the file system, or key in the bucket."""

    bucket: str | None = None
    """Name of the bucket; None for a path of the file system."""

    @classmethod
    def parse(cls, text: "str | os.PathLike[str] | Location") -> "Location":
        """The location that a user or caller names: a path, or `s3://BUCKET/KEY`.

        `~` is the home folder, also where no shell has replaced it. A link is replaced by what it leads to, since a
        store has one lock and one journal, whatever its names. Other parts of a path, such as `..`, stay as they are:
        the file system resolves them. In a bucket nothing does, so that there `..` leads one prefix up.
        """
        if isinstance(text, Location):
            return text
        # of s3://BUCKET/KEY it keeps one slash, as pathlib.Path("s3://...") did
        path = PurePosixPath(os.path.expanduser(os.fspath(text)))  # noqa: PTH111  # which raises for an unknown user
        if path.parts[:1] != ("s3:",):
            nameless = path.name in ("", "..")  # a folder that is named by the way to it, whose own name has the suffix
            return cls(PurePosixPath(os.path.realpath(path)) if nameless or Path(path).is_symlink() else path)
        bucket, *key = path.parts[1:] or ("",)
        return cls(PurePosixPath(posixpath.normpath("/" + "/".join(key))).relative_to("/"), bucket)

    @property
    def is_remote(self) -> bool:
        """Whether it is in a bucket."""
        return self.bucket is not None

    @property
    def path(self) -> Path:
        """The path, to open the file or folder.

        Raises:
            ValueError: it is in a bucket.
        """
        if self.is_remote:
            raise ValueError(f"{self} must be a path of the file system, it is in a bucket")
        return Path(self.key)

    @property
    def name(self) -> str:
        """Last part, with its suffix."""
        return self.key.name

    @property
    def suffix(self) -> str:
        """Suffix of the last part, with its dot."""
        return self.key.suffix

    @property
    def parent(self) -> Self:
        """The folder, or the prefix in the bucket, that holds it."""
        return replace(self, key=self.key.parent)

    def sibling(self, name: str) -> Self:
        """The location `name` in the same folder or prefix."""
        return replace(self, key=self.key.with_name(name))

    def with_suffix(self, suffix: str) -> Self:
        """The location with another suffix, e.g. `store.rejected.csv` for `store.h5`."""
        return replace(self, key=self.key.with_suffix(suffix))

    def absolute(self) -> Self:
        """The same location for a process in another working folder."""
        return self if self.is_remote else replace(self, key=PurePosixPath(os.path.realpath(self.key)))

    def files(self) -> list[Path]:
        """The file, or all files of the folder; none in a bucket."""
        if self.is_remote:
            return []
        return [path for path in (self.path, *self.path.rglob("*")) if path.is_file()]

    def to_record(self) -> str:
        """As records and attributes of stores hold it: with one slash after `s3:`, as all versions wrote it."""
        return str(self.key if self.bucket is None else PurePosixPath("s3:", self.bucket, self.key))

    def __truediv__(self, child: str) -> Self:
        return replace(self, key=self.key / child)

    def __str__(self) -> str:
        return str(self.key) if self.bucket is None else "s3://" + "/".join((self.bucket, *self.key.parts))


DEFAULT_STORE = Location.parse("data/store.h5")
"""The store that commands write and read unless another is named."""


def format_of(location: Location, name: str = "store") -> Literal["HDF5", "Zarr"]:
    """Format of the store at `location`, which its suffix names; the same rule for every command.

    `name` is what the message calls it, e.g. a command-line flag.

    Raises:
        ValueError: the suffix is not that of a store, or is that of a manifest, or of HDF5 in a bucket.
    """
    store_format = _FORMATS.get(location.suffix)
    if location.suffix == MANIFEST_SUFFIX:
        raise ValueError(
            f"{name} must be the store itself (.h5, .hdf5 or .zarr), got the manifest {location}; only "
            "etl.open_store and xarray read manifests: name the HDF5 store it was made from"
        )
    if location.is_remote and store_format != "Zarr":
        raise ValueError(f"{name} in a bucket must be s3://BUCKET/NAME.zarr, got {location}")
    if store_format is None:
        raise ValueError(f"{name} must end in .h5, .hdf5 or .zarr, got {location}")
    return store_format
