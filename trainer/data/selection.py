"""The rows of a store that a run trains on, scores or labels, and the pixel arrays it reads of them."""

from dataclasses import dataclass
from os import PathLike
from typing import Protocol

import numpy as np
import numpy.typing as npt

from etl.labels import CLASSES_19, convert_to_19
from etl.schema import SCHEMA_VERSION, SPLITS, STATS, WRITTEN
from etl.store.location import Location
from etl.store.reader import StoreReader
from trainer.data.normalisation import moments

__all__ = ["PixelArray", "RowReader", "RowSelection", "SelectedRows", "select_rows"]


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Which rows of a store are read, and which bands of them."""

    pixels: tuple[tuple[str, tuple[str, ...]], ...]
    """Pixel arrays to read, each with the bands that the network sees, in order; () for all of them as stored."""

    split: str = "train"
    """train, val, test, none, or all. Where a store has no splits at all, train means every written row."""

    classes: int = 0
    """19 to convert 43 classes on reading, 0 for those of the store."""

    labelled: bool = True
    """Leave out rows without any label."""


class RowReader(Protocol):
    """What reads pixels: a `StoreReader`, or anything else that can fill an array with rows."""

    def read_rows(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (patch, row, col, band), uint16, with `rows` of the pixel array `name`, in their order."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelArray:
    """One pixel array of a store, and the bands that the network sees of it."""

    name: str
    """Name in the store."""

    row_shape: tuple[int, int, int]
    """(row, col, band) of one patch."""

    channels: tuple[int, ...]
    """Which bands the network sees, in order, as indices of the last axis."""

    bands: tuple[str, ...]
    """Names of those."""

    mean: npt.NDArray[np.float32]
    """(channel,): over the training split, in stored counts (reflectance x 10,000)."""

    std: npt.NDArray[np.float32]
    """(channel,): standard deviation, likewise."""


@dataclass(frozen=True, slots=True, eq=False)
class SelectedRows:
    """The rows of a store that a run reads."""

    location: Location
    """The store's file, folder or prefix in a bucket."""

    reader: RowReader
    """The store, open for reading."""

    pixels: tuple[PixelArray, ...]
    """What is read of each row, finest first."""

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
        """What is read of one patch, in bytes."""
        return sum(int(np.prod(item.row_shape)) * 2 for item in self.pixels)


def select_rows(path: Location | PathLike[str] | str, selection: RowSelection) -> SelectedRows:
    """The written rows of a complete store that `selection` names, ready to read their pixels; the store stays open.

    Raises:
        ValueError: the store is not there, is none, is incomplete or cut off, or has no such row.
    """
    store = StoreReader(path)
    where = str(store.location)
    _check_readable(where, store, [name for name, _ in selection.pixels])
    numbers = _row_numbers(where, store, selection.split)
    labels, classes = _labels(where, store, selection.classes)
    labels = labels[numbers]
    kept = labels.any(axis=1) | (not selection.labelled)
    if not kept.any():
        raise ValueError(f"{where}: none of the {len(numbers)} rows of split {selection.split} has a label")
    pixels = tuple(_pixel_array(where, store, name, bands) for name, bands in selection.pixels)
    upsample = str(store.attributes.get("upsample", "unknown"))
    return SelectedRows(
        store.location, store, pixels, numbers[kept], labels[kept], classes, int((~kept).sum()), upsample
    )


def _check_readable(where: str, store: StoreReader, pixels: list[str]) -> None:
    missing = [name for name in ("state", "split", "classes", "complete") if name not in store]
    if missing:
        raise ValueError(f"{where} must be a store of etl.extract; it has no {', '.join(missing)}")
    version = store.attributes.get("schema_version")
    if str(version) != SCHEMA_VERSION:
        raise ValueError(f"{where} must be of schema version {SCHEMA_VERSION}, got {version}; extract it anew")
    if not store.complete:
        state = store.column("state")
        raise ValueError(
            f"{where} is incomplete, {int((state == 0).sum())} of {len(state)} rows are not written: "
            "complete it with etl.extract --resume and the settings it was begun with"
        )
    for name in pixels:
        if name not in store:
            raise ValueError(
                f"{where} has no {name} (extracted with --upsample none?); --bands rgb or native does without"
            )


def _row_numbers(where: str, store: StoreReader, wanted: str) -> npt.NDArray[np.int64]:
    written, split = store.column("state") == WRITTEN, store.column("split")
    if wanted == "all" or (wanted == "train" and not split.any()):
        chosen = written
    else:
        chosen = written & (split == SPLITS.index(wanted))
    if not chosen.any():
        counts = ", ".join(f"{name} {int((written & (split == k)).sum())}" for k, name in enumerate(SPLITS))
        raise ValueError(f"{where} has no row of split {wanted}; written rows by split: {counts}")
    return np.flatnonzero(chosen)


def _labels(where: str, store: StoreReader, wanted: int) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    labels, names = store.column("classes"), store.text("class")
    if wanted in (0, len(names)):
        return labels, names
    if (len(names), wanted) != (43, 19):
        raise ValueError(f"{where} has {len(names)} classes, which cannot be read as {wanted}; leave --classes at 0")
    return convert_to_19(labels), CLASSES_19


def _pixel_array(where: str, store: StoreReader, name: str, bands: tuple[str, ...]) -> PixelArray:
    shape, dtype = store.shape(name), store.dtype(name)
    if dtype != np.dtype("<u2") or len(shape) != 4:
        raise ValueError(f"{where}: {name} must be uint16 (patch, row, col, band), got {dtype} {shape}")
    stored = store.text("band_" + name.removeprefix("data_"))
    unknown = [band for band in bands if band not in stored]
    if unknown:
        raise ValueError(f"{where}: {name} has no band {', '.join(unknown)}; it has {', '.join(stored)}")
    channels = [stored.index(band) for band in bands or stored]
    mean, std = _moments(store, name)
    return PixelArray(name, shape[1:], tuple(channels), bands or stored, mean[channels], std[channels])


def _moments(store: StoreReader, name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Mean and standard deviation of each band over the training split; over all rows where that one is empty."""
    sums, train = store.statistics(name, STATS[:3]), SPLITS.index("train")
    trained = bool(sums["count"][train].any())
    return moments(*(values[train] if trained else values.sum(axis=0) for values in sums.values()))
