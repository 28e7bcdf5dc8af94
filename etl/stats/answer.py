"""What is said of a store: percentiles, means, deviations by band, split and class; labels and how they go together."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import BANDS, GROUPS
from etl.labels import classes_of
from etl.schema import SPLITS
from etl.stats.counts import Counts
from etl.store.reader import StoreReader

__all__ = ["SHARES", "Answer", "Labels", "answer_of", "disagreements", "labels_of", "record_of"]

SHARES = np.array([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])
"""Which percentiles are told."""

_BIN = 100
"""Width of a bin of the histograms told, in stored units: 0.01 of reflectance."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What is known without reading a pixel, of the written rows."""

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
class Answer:
    """All of it, bands in the order of wavelength."""

    store: str
    """Name of the store."""

    labels: Labels
    """What is known of the labels."""

    bands: tuple[str, ...]
    """Names of the bands."""

    percentiles: npt.NDArray[np.float64]
    """Of the valid pixels, shape (group, band, share), stored units, NaN where there are none."""

    mean: npt.NDArray[np.float64]
    """Shape (group, band), stored units, NaN where there are no valid pixels."""

    deviation: npt.NDArray[np.float64]
    """Standard deviation, as `mean`."""

    pixels: npt.NDArray[np.int64]
    """Valid pixels, nodata, saturated: shape (3, group, band)."""

    histogram: npt.NDArray[np.int64]
    """Valid pixels by value in bins of 100, shape (split, band, bin)."""


def labels_of(store: StoreReader) -> Labels:
    """What the columns of the written rows say."""
    rows, splits = store.written, len(SPLITS)
    classes = store.columns["classes"][rows] > 0
    split = np.minimum(store.columns["split"][rows], splits - 1)
    number = classes.sum(1)
    held = classes.astype(np.float64)
    per_patch = np.zeros((splits, int(number.max(initial=0)) + 1), np.int64)
    np.add.at(per_patch, (split, number), 1)
    return Labels(
        classes_of(store.schema.nomenclature),
        np.bincount(split, minlength=splits).astype(np.int64),
        np.stack([classes[split == k].sum(0) for k in range(splits)]).astype(np.int64),
        (held.T @ held).astype(np.int64),
        per_patch,
    )


def answer_of(store: StoreReader, counts: dict[str, Counts]) -> Answer:
    """The answer from exact counts."""
    groups = len(SPLITS) + store.schema.nomenclature
    shape = (groups, len(BANDS))
    percentiles, mean, deviation = (
        np.full((*shape, len(SHARES)), np.nan),
        np.full(shape, np.nan),
        np.full(shape, np.nan),
    )
    pixels = np.zeros((3, *shape), np.int64)
    bins = max(-(-found.valid.shape[2] // _BIN) for found in counts.values())
    histogram = np.zeros((len(SPLITS), len(BANDS), bins), np.int64)
    for group in GROUPS:
        found = counts[f"data_{group.name}"]
        own = list(group.super_index)
        percentiles[:, own] = found.percentiles(SHARES)
        pixels[:, :, own] = found.count, found.nodata, found.saturated
        binned = _binned(found.valid[: len(SPLITS), :, :])
        histogram[:, own, : binned.shape[2]] = binned
        for g, band in np.argwhere(found.count > 0).tolist():
            mean[g, own[band]], deviation[g, own[band]] = _moments(int(found.count[g, band]), *found.sums(g, band))
    names = tuple(band.name for band in BANDS)
    histogram = histogram[..., : int(np.flatnonzero(histogram.any((0, 1)))[-1:].sum()) + 1]
    return Answer(store.path.name, labels_of(store), names, percentiles, mean, deviation, pixels, histogram)


def _binned(valid: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Counts in bins of `_BIN` values, nodata left out."""
    padded = np.zeros((*valid.shape[:2], -(-valid.shape[2] // _BIN) * _BIN), np.int64)
    padded[..., 1 : valid.shape[2]] = valid[..., 1:]
    return np.asarray(padded.reshape(*valid.shape[:2], -1, _BIN).sum(-1))


def _moments(count: int, total: int, squares: int) -> tuple[float, float]:
    """Mean and standard deviation from exact integers."""
    return total / count, float(np.sqrt(max(squares * count - total * total, 0) / (count * count)))


def disagreements(store: StoreReader, counts: dict[str, Counts]) -> list[str]:
    """Where the exact sums that the store holds are not those of its pixels."""
    out = []
    for group in GROUPS:
        name = f"data_{group.name}"
        found, held = counts[name], store.statistics(name)
        for split, word in enumerate(SPLITS):
            for band, band_name in enumerate(group.bands):
                total, squares = found.sums(split, band)
                counted = {"count": int(found.count[split, band]), "sum": total, "sum_squares": squares}
                counted |= {"nodata": int(found.nodata[split, band]), "saturated": int(found.saturated[split, band])}
                for statistic, value in counted.items():
                    stored = held[statistic][split, band]
                    if stored != value:
                        out.append(
                            f"{name} {band_name} {statistic} of split {word}: stored {stored}, pixels give {value}"
                        )
    return out


def record_of(answer: Answer) -> dict[str, Any]:
    """The answer as JSON: reflectance as stored (x 10,000), None where there are no pixels."""
    labels, groups = answer.labels, (*SPLITS, *answer.labels.classes)
    bands = {}
    for b, band in enumerate(answer.bands):
        bands[band] = {
            kind: {
                name: _of_group(answer, first + k, b)
                for k, name in enumerate(names)
                if answer.pixels[:, first + k, b].any()
            }
            for kind, first, names in (("split", 0, SPLITS), ("class", len(SPLITS), groups[len(SPLITS) :]))
        }
    return {
        "store": answer.store,
        "units": "surface reflectance x 10,000",
        "patches": dict(zip(SPLITS, labels.patches.tolist(), strict=True)),
        "bands": bands,
        "histogram": {
            "bin": _BIN,
            "counts": {
                split: dict(zip(answer.bands, answer.histogram[k].tolist(), strict=True))
                for k, split in enumerate(SPLITS)
                if labels.patches[k]
            },
        },
        "classes": list(labels.classes),
        "class_patches": dict(zip(SPLITS, labels.count.tolist(), strict=True)),
        "class_together_patches": labels.together.tolist(),
        "labels_per_patch": dict(zip(SPLITS, labels.per_patch.tolist(), strict=True)),
    }


def _of_group(answer: Answer, group: int, band: int) -> dict[str, Any]:
    valid, nodata, saturated = answer.pixels[:, group, band].tolist()
    numbers = {
        f"p{100 * share:02.0f}": value for share, value in zip(SHARES, answer.percentiles[group, band], strict=True)
    }
    numbers |= {"mean": answer.mean[group, band], "deviation": answer.deviation[group, band]}
    told = {key: None if np.isnan(value) else float(value) for key, value in numbers.items()}
    return {"valid_pixels": valid, "nodata_pixels": nodata, "saturated_pixels": saturated, **told}
