"""Statistics of a store: percentiles, means, standard deviations by band, split and class; labels and their pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS, SUPER_BANDS
from etl.schema import SPLITS, STATS
from etl.stats.counts import ValueCounts
from etl.store.reader import StoreReader

__all__ = [
    "NODATA_BINS",
    "QUANTILES",
    "LabelCounts",
    "StatsReport",
    "compare_stored_sums",
    "count_labels",
    "make_stats_report",
]

QUANTILES = np.array([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
"""Levels of the percentiles that are reported."""

NODATA_BINS = ("none", "up to 1 %", "up to 10 %", "up to 50 %", "below 100 %", "all")
"""Bins of `nodata_share` in which patches are counted, each above the one before."""

_NODATA_EDGES = np.array([0, 0.01, 0.1, 0.5, np.nextafter(np.float32(1), np.float32(0))], np.float32)
"""Upper edges of all bins but the last; an edge belongs to the bin below it."""

# keys of the record
_PIXEL_KEYS = ("valid_pixels", "nodata_pixels", "saturated_pixels")
_NUMBER_KEYS = (*(f"p{100 * level:02.0f}" for level in QUANTILES), "mean", "deviation")

# width of a bin of the histograms in stored units, 0.01 of reflectance; each of the 256 values of uint8 is a bin
_BIN, _BIN_UINT8 = 100, 1


@dataclass(frozen=True, slots=True, eq=False)
class LabelCounts:
    """Counts of the labels of the written rows; no pixel is read for them."""

    classes: tuple[str, ...]
    """Names of the classes in published order."""

    patches: npt.NDArray[np.int64]
    """Number of patches by split, shape (split,)."""

    count: npt.NDArray[np.int64]
    """Number of patches that have a class, shape (split, class)."""

    together: npt.NDArray[np.int64]
    """Number of patches that have both classes, shape (class, class); on the diagonal those of one class."""

    per_patch: npt.NDArray[np.int64]
    """Number of patches by the number of their labels, shape (split, number of labels)."""


@dataclass(frozen=True, slots=True, eq=False)
class StatsReport:
    """Statistics of one store, bands in the order of wavelength; groups are the splits, then the classes."""

    store: str
    """Name of the store."""

    labels: LabelCounts
    """Counts of the labels."""

    bands: tuple[str, ...]
    """Names of the bands."""

    percentiles: npt.NDArray[np.float64]
    """Percentiles of the valid pixels, shape (group, band, quantile), in stored units; NaN without valid pixels."""

    mean: npt.NDArray[np.float64]
    """Mean of the valid pixels, shape (group, band), in stored units; NaN without valid pixels."""

    std: npt.NDArray[np.float64]
    """Standard deviation, as `mean`."""

    pixels: npt.NDArray[np.int64]
    """Number of valid, nodata and saturated pixels, shape (3, group, band)."""

    histogram: npt.NDArray[np.int64]
    """Number of valid pixels by value in bins of `bin_width`, shape (split, band, bin)."""

    bin_width: int
    """Width of a bin in stored units."""

    scale: float
    """Divisor from stored units to reflectance; 1 for image files, and stores of other programs."""

    @property
    def quantity(self) -> str:
        """What the values are, in words, once they are divided by `scale`."""
        return "surface reflectance" if self.scale > 1 else "pixel value"

    def to_text(self, value: float, digits: int) -> str:
        """A number in stored units, in words: reflectance with `digits` decimals, a pixel value with one."""
        return f"{value / self.scale:.{digits if self.scale > 1 else 1}f}"

    empty_patches: npt.NDArray[np.int64]
    """Number of patches without any data in a band, shape (group, band)."""

    nodata_patches: npt.NDArray[np.int64] | None
    """Number of patches by `NODATA_BINS`, shape (split, bin); None if the store has no `nodata_share`."""

    @property
    def nodata_lines(self) -> list[str]:
        """Lines on patches that lack data somewhere and in a whole band; none if no patch does."""

        def listed(names: Sequence[str], counts: npt.NDArray[np.int64]) -> str:
            return ", ".join(f"{name}: {n:,}" for name, n in zip(names, counts.tolist(), strict=True) if n)

        lines = []
        if self.nodata_patches is not None and self.nodata_patches[:, 1:].any():
            lines.append(
                f"patches by their share of pixels without data: {listed(NODATA_BINS, self.nodata_patches.sum(0))}"
            )
        if self.empty_patches.any():
            empty = self.empty_patches[: len(SPLITS)].sum(0)
            lines.append(f"patches without any data in a band: {listed(self.bands, empty)}")
        return lines

    def to_record(self) -> dict[str, Any]:
        """Return it in JSON's types: values in stored units, None if there are no pixels."""
        labels = self.labels
        names = (*SPLITS, *labels.classes)
        kinds = {"split": range(len(SPLITS)), "class": range(len(SPLITS), len(names))}

        def by_split(values: npt.NDArray[np.int64]) -> dict[str, Any]:
            return dict(zip(SPLITS, values.tolist(), strict=True))

        def by_group(groups: range, b: int) -> dict[str, Any]:
            return {names[g]: self._group_record(g, b) for g in groups if self.pixels[:, g, b].any()}

        return {
            "store": self.store,
            "units": "surface reflectance x 10,000" if self.scale > 1 else "pixel values as stored",
            "patches": by_split(labels.patches),
            "nodata_share_bins": list(NODATA_BINS),
            "nodata_share_patches": None if self.nodata_patches is None else by_split(self.nodata_patches),
            "bands": {
                band: {kind: by_group(groups, b) for kind, groups in kinds.items()} for b, band in enumerate(self.bands)
            },
            "histogram": {
                "bin": self.bin_width,
                "counts": {
                    split: dict(zip(self.bands, self.histogram[k].tolist(), strict=True))
                    for k, split in enumerate(SPLITS)
                    if labels.patches[k]
                },
            },
            "classes": list(labels.classes),
            "class_patches": by_split(labels.count),
            "class_together_patches": labels.together.tolist(),
            "labels_per_patch": by_split(labels.per_patch),
        }

    def _group_record(self, group: int, band: int) -> dict[str, Any]:
        """Numbers of one group and band, None if there are no valid pixels."""
        counts = zip(_PIXEL_KEYS, self.pixels[:, group, band].tolist(), strict=True)
        numbers = (*self.percentiles[group, band], self.mean[group, band], self.std[group, band])
        values = (None if np.isnan(value) else float(value) for value in numbers)
        empty = int(self.empty_patches[group, band])
        return dict((*counts, ("empty_patches", empty), *zip(_NUMBER_KEYS, values, strict=True)))


def count_labels(store: StoreReader) -> LabelCounts:
    """Return how many patches of each split have each class, shape (split, class), from the columns of written rows."""
    rows, last = store.written, len(SPLITS) - 1
    # in floats, in which these counts are exact: BLAS multiplies nothing else
    classes = (store.columns["classes"][rows] > 0).astype(np.float64)
    split = np.minimum(store.columns["split"][rows], last) == np.arange(last + 1)[:, None]
    labels = classes.sum(1)
    number = labels[:, None] == np.arange(int(labels.max(initial=0)) + 1)
    counts = split.sum(1), split @ classes, classes.T @ classes, split.astype(np.float64) @ number
    return LabelCounts(store.schema.class_names, *(count.astype(np.int64) for count in counts))


def make_stats_report(store: StoreReader, counts: dict[str, ValueCounts]) -> StatsReport:
    """Return the statistics of a store from exact counts by pixel array; values are in stored units."""
    arrays, bands = _counted_arrays(store), store.schema.images.bands if store.schema.images else SUPER_BANDS
    shape = (len(SPLITS) + store.schema.nomenclature, len(bands))
    width = _BIN_UINT8 if store.schema.pixels[0].dtype == "|u1" else _BIN
    percentiles = np.full((*shape, len(QUANTILES)), np.nan)
    mean, std = np.full(shape, np.nan), np.full(shape, np.nan)
    pixels, empty_patches = np.zeros((3, *shape), np.int64), np.zeros(shape, np.int64)
    bins = max(-(-values.valid.shape[2] // width) for values in counts.values())
    histogram = np.zeros((len(SPLITS), len(bands), bins), np.int64)
    for name, names in arrays.items():
        values, columns = counts[name], [bands.index(band) for band in names]
        percentiles[:, columns] = values.quantiles(QUANTILES)
        pixels[:, :, columns] = values.count, values.nodata, values.saturated
        empty_patches[:, columns] = values.empty_patches
        binned = _bin_counts(values.valid_counts[: len(SPLITS)], width)
        histogram[:, columns, : binned.shape[2]] = binned
        for g, band in np.argwhere(values.count > 0).tolist():
            index = g, columns[band]
            mean[index], std[index] = _mean_and_std(int(values.count[g, band]), *values.sums(g, band))
    last_bin = int(np.flatnonzero(histogram.any((0, 1)))[-1:].sum())  # 0 if all bins are empty
    shown, scale = histogram[..., : last_bin + 1], 1.0 if store.schema.images else 1e4
    return StatsReport(
        store.location.name, count_labels(store), bands, percentiles, mean, std, pixels, shown, width, scale,
        empty_patches, _count_nodata(store),
    )  # fmt: skip


def _count_nodata(store: StoreReader) -> npt.NDArray[np.int64] | None:
    """Number of written rows by `NODATA_BINS`, shape (split, bin); None if the store has no `nodata_share`."""
    if "nodata_share" not in store.columns:  # schema version 1
        return None
    share = store.columns["nodata_share"]
    rows = store.written[~np.isnan(share[store.written])]
    bins = np.searchsorted(_NODATA_EDGES, share[rows])
    counts = np.zeros((len(SPLITS), len(NODATA_BINS)), np.int64)
    np.add.at(counts, (np.minimum(store.columns["split"][rows], len(SPLITS) - 1), bins), 1)
    return counts


def _counted_arrays(store: StoreReader) -> dict[str, tuple[str, ...]]:
    """Bands of each counted pixel array, by its name."""
    images = store.schema.images
    return {f"data_{images.name}": images.bands} if images else {f"data_{group.name}": group.bands for group in GROUPS}


def _bin_counts(counts: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    """Counts in bins of `width` values."""
    return np.add.reduceat(counts, np.arange(0, counts.shape[2], width), axis=2)


def _mean_and_std(count: int, total: int, squares: int) -> tuple[float, float]:
    # in integers up to the last division: the difference of two large floats would lose precision
    return total / count, float(np.sqrt(max(squares * count - total * total, 0) / (count * count)))


def compare_stored_sums(store: StoreReader, counts: dict[str, ValueCounts]) -> list[str]:
    """Return a line for each exact statistic in the store that differs from that of its pixels."""
    differences = []
    for name, bands in _counted_arrays(store).items():
        values, stored = counts[name], store.statistics(name)
        count, nodata = values.count, values.nodata
        for (split, split_name), (band, band_name) in product(enumerate(SPLITS), enumerate(bands)):
            at = split, band
            exact = (count[at], *values.sums(split, band), nodata[at], values.saturated[at])
            for statistic, value in zip(STATS, map(int, exact), strict=True):
                if (stored_value := stored[statistic][at]) != value:
                    what = f"{name} {band_name} {statistic} of split {split_name}"
                    differences.append(f"{what}: stored {stored_value}, pixels give {value}")
    return differences
