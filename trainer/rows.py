"""The rows of a store that a run is about: found once through HDF5, then read by offset without it; or through Zarr.

Source: etl.schema, the contract of what lies on disk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from etl.labels import CLASSES_19, convert_to_19
from etl.schema import SCHEMA_VERSION, SPLITS, STATS, WRITTEN
from trainer.data.normalisation import moments, whole_numbers
from trainer.row_file import RowFile

__all__ = ["PixelRows", "Rows", "Wanted", "open_rows"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows of a store, and what of them."""

    pixels: tuple[tuple[str, tuple[str, ...]], ...]
    """Data sets to read, each with the bands wanted of it, in order; () for all of them as stored."""

    split: str = "train"
    """train, val, test, none, or all. Where a store has no splits at all, train means every written row."""

    classes: int = 0
    """19 to convert 43 classes on reading, 0 for those of the store."""

    labelled: bool = True
    """Leave out rows without any label."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelRows:
    """One pixel data set."""

    path: Path
    """The store."""

    name: str
    """Name of the data set."""

    offset: int | None
    """Where its row 0 begins in the file, in bytes; None where it is chunked, which only HDF5 or Zarr reads."""

    row_shape: tuple[int, int, int]
    """(row, col, band) of one patch."""

    channels: tuple[int, ...]
    """Which bands the network sees, in order, as places on the last axis."""

    bands: tuple[str, ...]
    """Names of those."""

    mean: npt.NDArray[np.float32]
    """(channel,): over the training split, in stored counts."""

    deviation: npt.NDArray[np.float32]
    """(channel,): standard deviation, likewise."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one patch."""
        return int(np.prod(self.row_shape)) * 2

    def read(self, file: RowFile | None, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (patch, row, col, band), with patches `rows`; `file` is a contiguous store, else None.

        Raises:
            OSError: the file ends before, or a shard is torn.
        """
        if _is_zarr(self.path):
            from trainer.shards import read

            read(self.path, self.name, rows, out)
        elif file is None or self.offset is None:
            self._read_chunked(rows, out)
        else:
            file.read(self.offset, rows, out)

    def _read_chunked(self, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
        """HDF5 takes each row once, in ascending order."""
        once, where = np.unique(rows, return_inverse=True)
        with h5py.File(self.path, "r", locking="best-effort") as file:
            out[...] = file[self.name][once][where]


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What a run takes from a store."""

    path: Path
    """The store."""

    pixels: tuple[PixelRows, ...]
    """Where the pixels lie, finest first."""

    numbers: npt.NDArray[np.int64]
    """(row,): place in the store of each row, ascending."""

    labels: npt.NDArray[np.uint8]
    """(row, class): 0 or 1."""

    classes: tuple[str, ...]
    """Names of the classes."""

    unlabelled: int
    """Rows that were left out because no label is left to them."""

    upsample: str
    """How the store's coarser bands were brought to 10 m."""

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def row_bytes(self) -> int:
        """Bytes that are read of one patch."""
        return sum(item.row_bytes for item in self.pixels)


def open_rows(path: Path, wanted: Wanted) -> Rows:
    """The written rows of a complete store that are wanted.

    Raises:
        ValueError: the store is not there, is none, is incomplete or cut off, or has no such row.
    """
    try:
        with _opened(path) as file:
            _check(path, file, [name for name, _ in wanted.pixels])
            numbers = _numbers(path, file, wanted.split)
            labels, classes = _labels(path, file, wanted.classes)
            labels = labels[numbers]
            kept = labels.any(axis=1) | (not wanted.labelled)
            if not kept.any():
                raise ValueError(f"{path}: none of the {len(numbers)} rows of split {wanted.split} has a label")
            pixels = tuple(_pixels(path, file, name, bands) for name, bands in wanted.pixels)
            upsample = str(file.attrs.get("upsample", "unknown"))
            return Rows(path, pixels, numbers[kept], labels[kept], classes, int((~kept).sum()), upsample)
    except OSError as error:
        raise ValueError(f"store {path} cannot be read: {error}") from None


def _is_zarr(path: Path) -> bool:
    return path.suffix == ".zarr"


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The store: an h5py.File, or a zarr.Group, whose arrays are asked in the same way."""
    if _is_zarr(path):
        from trainer.shards import load

        yield load(path)
        return
    if not path.exists():
        raise ValueError(f"store {path} is not there; make it with etl.extract, or name another with --store")
    with h5py.File(path, "r", locking="best-effort") as file:
        yield file


def _check(path: Path, file: Any, data_sets: list[str]) -> None:
    missing = [name for name in ("state", "split", "classes", "complete") if name not in file]
    if missing:
        raise ValueError(f"{path} must be a store of etl.extract; it has no {', '.join(missing)}")
    version = file.attrs.get("schema_version")
    if str(version) != SCHEMA_VERSION:
        raise ValueError(f"{path} must be of schema version {SCHEMA_VERSION}, got {version}; extract it anew")
    if not file["complete"][()]:
        left = int((file["state"][...] == 0).sum())
        raise ValueError(
            f"{path} is incomplete, {left} of {len(file['state'])} rows are not written: "
            "complete it with etl.extract --resume and the settings it was begun with"
        )
    for name in data_sets:
        if name not in file:
            raise ValueError(
                f"{path} has no {name} (extracted with --upsample none?); --bands rgb or native does without"
            )


def _numbers(path: Path, file: Any, wanted: str) -> npt.NDArray[np.int64]:
    written, split = file["state"][...] == WRITTEN, file["split"][...]
    if wanted == "all" or (wanted == "train" and not split.any()):
        chosen = written
    else:
        chosen = written & (split == SPLITS.index(wanted))
    if not chosen.any():
        counts = ", ".join(f"{name} {int((written & (split == k)).sum())}" for k, name in enumerate(SPLITS))
        raise ValueError(f"{path} has no row of split {wanted}; written rows by split: {counts}")
    return np.flatnonzero(chosen)


def _labels(path: Path, file: Any, wanted: int) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    labels = file["classes"][...]
    names = tuple(name.decode() for name in file["class"][...])
    if wanted in (0, len(names)):
        return labels, names
    if (len(names), wanted) != (43, 19):
        raise ValueError(f"{path} has {len(names)} classes, which cannot be read as {wanted}; leave --classes at 0")
    return convert_to_19(labels), CLASSES_19


def _pixels(path: Path, file: Any, name: str, bands: tuple[str, ...]) -> PixelRows:
    found = file[name]
    offset = None if _is_zarr(path) else found.id.get_offset()
    if found.dtype != np.dtype("<u2") or found.ndim != 4:
        raise ValueError(f"{path}: {name} must be uint16 (patch, row, col, band), got {found.dtype} {found.shape}")
    size = path.stat().st_size if offset is not None else 0
    if offset is not None and size < offset + found.nbytes:
        raise ValueError(f"{path} is truncated: {name} ends at byte {offset + found.nbytes}, the file at {size}")
    stored = tuple(band.decode() for band in file["band_" + name.removeprefix("data_")][...])
    unknown = [band for band in bands if band not in stored]
    if unknown:
        raise ValueError(f"{path}: {name} has no band {', '.join(unknown)}; it has {', '.join(stored)}")
    channels = tuple(stored.index(band) for band in bands or stored)
    mean, deviation = _moments(file, name)
    index = list(channels)
    return PixelRows(path, name, offset, found.shape[1:], channels, bands or stored, mean[index], deviation[index])


def _moments(file: Any, name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Of the training split; of all rows where that one is empty."""
    sums = {key: whole_numbers(file[f"stats/{name}/{key}"][...]) for key in STATS[:3]}
    train = SPLITS.index("train")
    count, total, squares = (
        sums[key][train] if sums["count"][train].any() else sums[key].sum(axis=0) for key in STATS[:3]
    )
    return moments(count, total, squares)
