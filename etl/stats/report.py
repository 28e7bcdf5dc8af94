"""Statistics of a store: percentiles, means, standard deviations by band, split and class; labels and their pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import BANDS, GROUPS
from etl.labels import classes_of
from etl.schema import SPLITS
from etl.stats.counts import ValueCounts
from etl.store.reader import StoreReader

__all__ = ["QUANTILES", "LabelCounts", "StatsReport", "compare_stored_sums", "count_labels", "make_stats_report"]

QUANTILES = np.array([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
"""Levels of the percentiles that are reported."""

_PERCENTILE_KEYS = tuple(f"p{100 * level:02.0f}" for level in QUANTILES)

# width of a bin of the histograms, in stored units: 0.01 of reflectance
_BIN = 100


@dataclass(frozen=True, slots=True, eq=False)
class LabelCounts:
    """Labels of the written rows, counted without reading a pixel."""

    classes: tuple[str, ...]
    """Their names in published order."""

    patches: npt.NDArray[np.int64]
    """Patches by split, shape (split,)."""

    count: npt.NDArray[np.int64]
    """Patches that have a class, shape (split, class)."""

    together: npt.NDArray[np.int64]
    """Patches that have two classes, shape (class, class); on the diagonal those that have one."""

    per_patch: npt.NDArray[np.int64]
    """Patches by the number of their labels, shape (split, number)."""


@dataclass(frozen=True, slots=True, eq=False)
class StatsReport:
    """Statistics of one store, bands in the order of wavelength; a group is a split or, after the splits, a class."""

    store: str
    """Name of the store."""

    labels: LabelCounts
    """Counts of the labels."""

    bands: tuple[str, ...]
    """Names of the bands."""

    percentiles: npt.NDArray[np.float64]
    """Of the valid pixels, shape (group, band, quantile), stored units, NaN where there are none."""

    mean: npt.NDArray[np.float64]
    """Shape (group, band), stored units, NaN where there are no valid pixels."""

    std: npt.NDArray[np.float64]
    """Standard deviation, as `mean`."""

    pixels: npt.NDArray[np.int64]
    """Valid pixels, nodata, saturated: shape (3, group, band)."""

    histogram: npt.NDArray[np.int64]
    """Valid pixels by value in bins of 100, shape (split, band, bin)."""

    def to_record(self) -> dict[str, Any]:
        """Return it as JSON: reflectance as stored (x 10,000), None where there are no pixels."""
        labels = self.labels
        names = (*SPLITS, *labels.classes)
        first_class = len(SPLITS)
        return {
            "store": self.store,
            "units": "surface reflectance x 10,000",
            "patches": dict(zip(SPLITS, labels.patches.tolist(), strict=True)),
            "bands": {
                band: {
                    "split": self._groups_record(names[:first_class], 0, b),
                    "class": self._groups_record(names[first_class:], first_class, b),
                }
                for b, band in enumerate(self.bands)
            },
            "histogram": {
                "bin": _BIN,
                "counts": {
                    split: dict(zip(self.bands, self.histogram[k].tolist(), strict=True))
                    for k, split in enumerate(SPLITS)
                    if labels.patches[k]
                },
            },
            "classes": list(labels.classes),
            "class_patches": dict(zip(SPLITS, labels.count.tolist(), strict=True)),
            "class_together_patches": labels.together.tolist(),
            "labels_per_patch": dict(zip(SPLITS, labels.per_patch.tolist(), strict=True)),
        }

    def _groups_record(self, names: Sequence[str], first: int, band: int) -> dict[str, Any]:
        """Numbers of each group that has pixels, by name; `names` are those from group `first` on."""
        out = {}
        for group, name in enumerate(names, first):
            valid, nodata, saturated = self.pixels[:, group, band].tolist()
            if not (valid or nodata or saturated):
                continue
            numbers = dict(zip(_PERCENTILE_KEYS, self.percentiles[group, band], strict=True))
            numbers |= {"mean": self.mean[group, band], "deviation": self.std[group, band]}
            out[name] = {"valid_pixels": valid, "nodata_pixels": nodata, "saturated_pixels": saturated}
            out[name] |= {key: None if np.isnan(value) else float(value) for key, value in numbers.items()}
        return out


def count_labels(store: StoreReader) -> LabelCounts:
    """Return how many patches of each split have each class, from the columns of the written rows."""
    rows, splits = store.written, len(SPLITS)
    classes = store.columns["classes"][rows] > 0
    split = np.minimum(store.columns["split"][rows], splits - 1)
    number = classes.sum(1)
    as_float = classes.astype(np.float64)  # BLAS multiplies floats only; these counts are exact in them
    per_patch = np.zeros((splits, int(number.max(initial=0)) + 1), np.int64)
    np.add.at(per_patch, (split, number), 1)
    return LabelCounts(
        classes_of(store.schema.nomenclature),
        np.bincount(split, minlength=splits).astype(np.int64),
        np.stack([classes[split == k].sum(0) for k in range(splits)]).astype(np.int64),
        (as_float.T @ as_float).astype(np.int64),
        per_patch,
    )


def make_stats_report(store: StoreReader, counts: dict[str, ValueCounts]) -> StatsReport:
    """Return the statistics of a store from exact counts by pixel array; values are in stored units."""
    shape = (len(SPLITS) + store.schema.nomenclature, len(BANDS))
    percentiles = np.full((*shape, len(QUANTILES)), np.nan)
    mean, std = np.full(shape, np.nan), np.full(shape, np.nan)
    pixels = np.zeros((3, *shape), np.int64)
    bins = max(-(-values.valid.shape[2] // _BIN) for values in counts.values())
    histogram = np.zeros((len(SPLITS), len(BANDS), bins), np.int64)
    for group in GROUPS:
        values = counts[f"data_{group.name}"]
        columns = list(group.super_index)
        percentiles[:, columns] = values.quantiles(QUANTILES)
        pixels[:, :, columns] = values.count, values.nodata, values.saturated
        binned = _bin_counts(values.valid[: len(SPLITS)])
        histogram[:, columns, : binned.shape[2]] = binned
        for g, band in np.argwhere(values.count > 0).tolist():
            place = g, columns[band]
            mean[place], std[place] = _mean_and_std(int(values.count[g, band]), *values.sums(g, band))
    last_bin = int(np.flatnonzero(histogram.any((0, 1)))[-1:].sum())  # 0 where all bins are empty
    return StatsReport(
        store=store.path.name,
        labels=count_labels(store),
        bands=tuple(band.name for band in BANDS),
        percentiles=percentiles,
        mean=mean,
        std=std,
        pixels=pixels,
        histogram=histogram[..., : last_bin + 1],
    )


def _bin_counts(valid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Counts in bins of `_BIN` values, nodata left out."""
    padded = np.zeros((*valid.shape[:2], -(-valid.shape[2] // _BIN) * _BIN), np.int64)
    padded[..., 1 : valid.shape[2]] = valid[..., 1:]
    return np.asarray(padded.reshape(*valid.shape[:2], -1, _BIN).sum(-1))


def _mean_and_std(count: int, total: int, squares: int) -> tuple[float, float]:
    # in whole numbers up to the last division: the difference of two large floats would lose its digits
    return total / count, float(np.sqrt(max(squares * count - total * total, 0) / (count * count)))


def compare_stored_sums(store: StoreReader, counts: dict[str, ValueCounts]) -> list[str]:
    """Return a line for each exact sum in the store that is not that of its pixels."""
    out = []
    for group in GROUPS:
        name = f"data_{group.name}"
        values, stored = counts[name], store.statistics(name)
        for (split, split_name), (band, band_name) in product(enumerate(SPLITS), enumerate(group.bands)):
            total, squares = values.sums(split, band)
            expected = {"count": int(values.count[split, band]), "sum": total, "sum_squares": squares}
            expected |= {
                "nodata": int(values.nodata[split, band]),
                "saturated": int(values.saturated[split, band]),
            }
            for statistic, value in expected.items():
                if (stored_value := stored[statistic][split, band]) != value:
                    place = f"{name} {band_name} {statistic} of split {split_name}"
                    out.append(f"{place}: stored {stored_value}, pixels give {value}")
    return out
