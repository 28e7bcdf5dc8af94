"""The training rows of a store: found once through HDF5, then read by offset without it.

Source: etl.store.schema, the contract of what lies on disk.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from etl.store.schema import SCHEMA_VERSION, SPLITS, WRITTEN

__all__ = ["PixelRows", "TrainingRows", "open_rows"]


@dataclass(frozen=True, slots=True)
class PixelRows:
    """One contiguous pixel data set."""

    path: Path
    """The store."""

    name: str
    """Name of the data set."""

    offset: int
    """Where its row 0 begins in the file, in bytes."""

    row_shape: tuple[int, int, int]
    """(row, col, band) of one patch."""

    channels: tuple[int, ...]
    """Which bands the network sees, in order, as places on the last axis."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one patch."""
        return int(np.prod(self.row_shape)) * 2

    def read(self, file: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint16]:
        """Patches `rows` of the store, shape (patch, row, col, band), uint16, as stored; `file` is open for reading.

        Raises:
            OSError: the file ends before.
        """
        out = np.empty((len(rows), *self.row_shape), np.uint16)
        view = memoryview(out).cast("B")
        for place, row in enumerate(rows.tolist()):
            start = self.offset + row * self.row_bytes
            self._fill(file, view[place * self.row_bytes : (place + 1) * self.row_bytes], start)
        return out

    def _fill(self, file: int, part: memoryview, start: int) -> None:
        done = 0
        while done < len(part):
            got = os.preadv(file, [part[done:]], start + done)
            if got == 0:
                raise OSError(f"{self.path} ends at byte {start + done}, inside {self.name}: it is truncated")
            done += got


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """What training takes from a store."""

    pixels: PixelRows
    """Where the pixels lie."""

    numbers: npt.NDArray[np.int64]
    """(row,): place in the store of each training row."""

    labels: npt.NDArray[np.uint8]
    """(row, class): 0 or 1."""

    def __len__(self) -> int:
        return len(self.numbers)


def open_rows(path: Path, data_set: str, bands: tuple[str, ...]) -> TrainingRows:
    """The rows of state "written" and split "train"; where the store has no splits at all, every written row.

    `bands` are those wanted of `data_set`, () for all of them in stored order.

    Raises:
        ValueError: the store is not there, is none, is incomplete or cut off, or has nothing to train on.
    """
    if not path.exists():
        raise ValueError(f"store {path} is not there; make it with etl.extract, or name another with --store")
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            _check(path, file, data_set)
            numbers = _training(path, file["state"][...], file["split"][...])
            return TrainingRows(_pixels(path, file, data_set, bands), numbers, file["classes"][...][numbers])
    except OSError as error:
        raise ValueError(f"store {path} cannot be read: {error}") from None


def _check(path: Path, file: h5py.File, data_set: str) -> None:
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
    if data_set not in file:
        raise ValueError(f"{path} has no {data_set} (extracted with --upsample none?); --bands rgb does without")


def _pixels(path: Path, file: h5py.File, name: str, bands: tuple[str, ...]) -> PixelRows:
    found = file[name]
    offset = found.id.get_offset()
    if found.dtype != np.dtype("<u2") or found.ndim != 4:
        raise ValueError(f"{path}: {name} must be uint16 (patch, row, col, band), got {found.dtype} {found.shape}")
    if offset is None:
        raise ValueError(f"{path}: {name} must be contiguous to be read by offset; it is chunked, compressed or empty")
    size = path.stat().st_size
    if size < offset + found.nbytes:
        raise ValueError(f"{path} is truncated: {name} ends at byte {offset + found.nbytes}, the file at {size}")
    stored = tuple(band.decode() for band in file["band_" + name.removeprefix("data_")][...])
    unknown = [band for band in bands if band not in stored]
    if unknown:
        raise ValueError(f"{path}: {name} has no band {', '.join(unknown)}; it has {', '.join(stored)}")
    channels = tuple(stored.index(band) for band in bands or stored)
    return PixelRows(path, name, offset, found.shape[1:], channels)


def _training(path: Path, state: npt.NDArray[np.uint8], split: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    written = state == WRITTEN
    wanted = written & (split == SPLITS.index("train")) if split.any() else written
    if not wanted.any():
        counts = ", ".join(f"{name} {int((written & (split == k)).sum())}" for k, name in enumerate(SPLITS))
        raise ValueError(f"{path} has no row to train on; written rows by split: {counts}")
    return np.flatnonzero(wanted)
