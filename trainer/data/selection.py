"""The rows of a store that a run trains on, scores or labels, and the pixel arrays it reads of them."""

from dataclasses import dataclass
from os import PathLike

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA
from etl.labels import CLASSES_19, convert_to_19
from etl.pixel_groups import IMAGES, NATIVE_GROUPS, SENTINEL1, STEPS_PER_DB, only_array, true_colour_of
from etl.schema import READABLE_VERSIONS, SPLITS, UNWRITTEN, WRITTEN
from etl.store.location import Location
from etl.store.reader import StoreReader
from trainer.config import RGB_BANDS, BandSelection
from trainer.data.normalisation import moments

__all__ = ["PixelArray", "RowSelection", "SelectedRows", "select_rows"]


@dataclass(frozen=True, slots=True)
class RowSelection:
    """Which rows of a store are read, and which bands of them."""

    bands: tuple[BandSelection, ...]
    """Pixel arrays to read, and the bands of each that the network gets."""

    split: str = "train"
    """train, val, test, none, or all. If no row of a store is in a split, train means every written row."""

    classes: int = 0
    """19 to convert 43 classes to 19 after reading, 0 to keep the classes of the store."""

    labelled_only: bool = True
    """Leave out rows without any label."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelArray:
    """One pixel array of a store, and the bands of it that the network gets as channels."""

    name: str
    """Name in the store."""

    row_shape: tuple[int, int, int]
    """Shape (row, col, band) of one patch as stored, with all bands."""

    channels: tuple[int, ...]
    """Index of each channel's band on the band axis."""

    bands: tuple[str, ...]
    """Name of each channel's band."""

    mean: npt.NDArray[np.float32]
    """(channel,): mean over the training split, in stored counts (reflectance x 10,000), or dB."""

    std: npt.NDArray[np.float32]
    """(channel,): standard deviation over the training split, in stored counts, or dB."""

    dtype: str = "uint16"
    """numpy type of the pixels: uint8 or uint16; of Sentinel-1 float32."""

    nodata: int | None = NODATA
    """Value of a pixel without data; None if every pixel has data, but for NaN in float32."""

    missing_share: float = 0.0
    """Share of the pixels of the training split that are NaN, 0 to 1."""

    @property
    def row_bytes(self) -> int:
        """Size of one patch as stored, in bytes."""
        return int(np.prod(self.row_shape)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True, eq=False)
class SelectedRows:
    """Rows of a store, with their labels in memory and their pixels ready to be read."""

    reader: StoreReader
    """The store, open for reading."""

    pixels: tuple[PixelArray, ...]
    """Pixel arrays that are read for each row, finest resolution first."""

    store_rows: npt.NDArray[np.int64]
    """(row,): row number in the store, ascending; repeated for an oversampled row."""

    labels: npt.NDArray[np.uint8]
    """(row, class): 0 or 1."""

    classes: tuple[str, ...]
    """Names of the classes."""

    unlabelled: int
    """Number of rows of the split that were left out because they have no label."""

    upsample: str
    """Method by which the store's 20 m and 60 m bands were upsampled to 10 m."""

    archive: str = ""
    """Published archive that the store says its patches are of, such as "BigEarthNet v1"; empty if it says none."""

    single_label: bool = False
    """Whether the store says that a patch has one class; then no row has several labels."""

    def __len__(self) -> int:
        return len(self.store_rows)

    @property
    def row_bytes(self) -> int:
        """Size of the pixels that are read for one patch, in bytes."""
        return sum(item.row_bytes for item in self.pixels)


def select_rows(path: Location | PathLike[str] | str, selection: RowSelection) -> SelectedRows:
    """The written rows of a complete store that `selection` asks for; the store stays open to read their pixels.

    Raises:
        ValueError: the path is missing or not a store, the store is incomplete or truncated, or it has no such row.
        DamagedStoreError: a shard of such rows is missing.
    """
    store = StoreReader(path)
    bands = _bands_of_store(store, selection.bands)
    _check_readable(store, [selected.array for selected in bands])
    store_rows = _rows_of_split(store, selection.split)
    labels, classes = _labels(store, selection.classes)
    labels = labels[store_rows]
    used = labels.any(axis=1) | (not selection.labelled_only)
    if not used.any():
        raise ValueError(
            f"{store.location}: none of the {len(labels)} rows of split {selection.split} has a label; "
            "choose another split, or extract with a catalogue that has labels"
        )
    pixels = tuple(_pixel_array(store, selected) for selected in bands)
    store.require_shards([item.name for item in pixels], store_rows[used])
    upsample, archive = str(store.attributes.get("upsample", "unknown")), str(store.attributes.get("archive", ""))
    unlabelled, single = int((~used).sum()), _has_single_labels(store, labels)
    return SelectedRows(store, pixels, store_rows[used], labels[used], classes, unlabelled, upsample, archive, single)


def _has_single_labels(store: StoreReader, labels: npt.NDArray[np.uint8]) -> bool:
    """Whether the store says that a patch has one class; `labels`: of the rows selected, shape (row, class).

    Raises:
        ValueError: it says so, and a row has several.
    """
    if store.attributes.get("labels") != "single":
        return False
    several = int((labels.sum(axis=1) > 1).sum())
    if several:
        raise ValueError(
            f"{store.location} has the attribute labels = single, so no row may have several labels, but {several} of "
            f"{len(labels)} rows have; remove the attribute, or correct the array classes"
        )
    return True


def _bands_of_store(store: StoreReader, wanted: tuple[BandSelection, ...]) -> tuple[BandSelection, ...]:
    """The bands `wanted`; of a store of image files, or of another program, those of its one array.

    Of a store without upsampled bands, all are the native ones.

    Raises:
        ValueError: a wanted band is none of Sentinel-2, and the store is.
    """
    only = only_array(store.names)
    if IMAGES in store and any(selected.array == SENTINEL1 for selected in wanted):
        raise ValueError(f"{store.location} is of image files and has no {SENTINEL1}; leave +s1 out of --bands")
    optical = tuple(selected for selected in wanted if selected.array != SENTINEL1)
    if only is None:
        unknown = next((selected.bands for selected in optical if selected.array == IMAGES), None)
        if unknown:
            names = ",".join(unknown)
            choices = "rgb, all, native, s1 or a list such as B02,B8A, with +s1 or without"
            raise ValueError(f"--bands must be {choices}, got {names!r}: {store.location} is of Sentinel-2")
        native = tuple(BandSelection(f"data_{group.name}") for group in NATIVE_GROUPS)
        if optical == (BandSelection("data_super"),) and "data_super" not in store and native[0].array in store:
            return (*native, *wanted[1:])
        return wanted
    if not optical:
        return wanted
    bands = optical[0].bands if len(optical) == 1 else ()
    if bands == RGB_BANDS:
        stored = store.text("band_" + only.removeprefix("data_"))
        bands = tuple(stored[k] for k in true_colour_of(stored))
    return (BandSelection(only, bands), *wanted[len(optical) :])


def _check_readable(store: StoreReader, pixels: list[str]) -> None:
    where = store.location
    missing = [name for name in ("state", "split", "classes", "complete") if name not in store]
    if missing:
        raise ValueError(f"{where} must be a store of etl.extract; it has no {', '.join(missing)}")
    version = store.attributes.get("schema_version")
    if str(version) not in READABLE_VERSIONS:
        readable = " or ".join(READABLE_VERSIONS)
        raise ValueError(f"{where} must be of schema version {readable}, got {version}; extract it again")
    if not store.complete:
        state = store.column("state")
        raise ValueError(
            f"{where} is incomplete, {int((state == UNWRITTEN).sum())} of {len(state)} rows are not written: "
            "complete it with etl.extract --resume and the settings it was begun with"
        )
    for name in pixels:
        if name not in store and name == SENTINEL1:
            raise ValueError(f"{where} has no {name}; extract with --sentinel1, or leave +s1 out of --bands")
        if name not in store:
            raise ValueError(
                f"{where} has no {name} (extracted with --upsample none?); use --bands rgb or native, "
                "with +s1 or without, which do not need it"
            )


def _rows_of_split(store: StoreReader, wanted: str) -> npt.NDArray[np.int64]:
    """Row numbers of the written rows of split `wanted`, ascending, shape (row,)."""
    store.require_written()
    written, split = store.column("state") == WRITTEN, store.column("split")
    all_written = wanted == "all" or (wanted == "train" and not split.any())
    chosen = written if all_written else written & (split == SPLITS.index(wanted))
    if not chosen.any():
        counts = ", ".join(f"{name} {int((written & (split == k)).sum())}" for k, name in enumerate(SPLITS))
        raise ValueError(f"{store.location} has no row of split {wanted}; written rows by split: {counts}")
    return np.flatnonzero(chosen)


def _labels(store: StoreReader, wanted: int) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
    labels, names = store.column("classes"), store.text("class")
    if wanted in (0, len(names)):
        return labels, names
    if (len(names), wanted) != (43, 19):
        what = f"{store.location} has {len(names)} classes"
        raise ValueError(f"{what}, which cannot be read as {wanted}; leave --classes at 0")
    return convert_to_19(labels), CLASSES_19


_DTYPES = (np.dtype("<u2"), np.dtype("|u1"), np.dtype("<f4"))


def _pixel_array(store: StoreReader, selected: BandSelection) -> PixelArray:
    where, name, bands = store.location, selected.array, selected.bands
    shape, dtype = store.shape(name), store.dtype(name)
    if dtype not in _DTYPES or len(shape) != 4:
        raise ValueError(
            f"{where}: {name} must be uint8, uint16 or float32 (patch, row, col, band), got {dtype} {shape}"
        )
    stored = store.text("band_" + name.removeprefix("data_"))
    unknown = [band for band in bands if band not in stored]
    if unknown:
        raise ValueError(f"{where}: {name} has no band {', '.join(unknown)}; it has {', '.join(stored)}")
    channels = [stored.index(band) for band in bands or stored]
    mean, std, missing_share = _moments(store, name)
    images = store.schema.images if name == IMAGES else None
    nodata = images.nodata if images is not None else None if name == SENTINEL1 else NODATA
    moments_of_channels = mean[channels], std[channels]
    names = bands or stored
    return PixelArray(name, shape[1:], tuple(channels), names, *moments_of_channels, dtype.name, nodata, missing_share)


def _moments(store: StoreReader, name: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], float]:
    """Mean and standard deviation of each band over the training split, over all rows if that split is empty.

    And the share of its pixels that have no value, 0 to 1; of whole numbers 0.
    """
    which, train = ("count", "sum", "sum_squares", "nodata"), SPLITS.index("train")
    sums = store.statistics(name, which)
    is_float = name == SENTINEL1
    in_train = sums["count"][train] + (sums["nodata"][train] if is_float else 0)
    splits = [train] if in_train.any() else slice(None)
    count, total, squares, missing = (sums[statistic][splits].sum(axis=0) for statistic in which)
    mean, std = moments(count, total, squares)
    step = np.float32(1 / STEPS_PER_DB if is_float else 1)
    share = float(missing.sum() / max(1, missing.sum() + count.sum())) if is_float else 0.0
    return mean * step, std if not count.any() else std * step, share
