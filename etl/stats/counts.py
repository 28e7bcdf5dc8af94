"""Exact counts of each pixel value, by group of patches and band, from one pass over the pixels.

A group is a split or a class; a patch counts in its split and in each of its classes. Patches of one batch that belong
to the same groups are counted together, so that every pixel is counted once, and its count added to each group.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED
from etl.schema import SPLITS

__all__ = ["ValueCounts", "group_membership"]

# initial length of the arrays, and by how many values they grow: brighter pixels are rare
_INITIAL_VALUES, _GROWTH_VALUES = 16384, 4096


def group_membership(split: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which groups each patch belongs to, bool, shape (patch, group): the schema's splits, then the classes.

    `split`: shape (patch,); `classes`: shape (patch, class), 0 or 1.
    """
    splits = np.minimum(split, len(SPLITS) - 1)[:, None] == np.arange(len(SPLITS))
    return np.concatenate([splits, classes > 0], 1)


class ValueCounts:
    """Counts of one pixel array, for any number of its rows."""

    def __init__(
        self, groups: int, bands: int, nodata_value: int | None = NODATA, saturated_value: int | None = SATURATED
    ) -> None:
        """`nodata_value`, `saturated_value`: values of pixels that are not valid; None if there is none."""
        self.groups, self.bands = groups, bands
        self._nodata_value, self._saturated_value = nodata_value, saturated_value
        self.valid = np.zeros((groups, bands, _INITIAL_VALUES), np.int64)
        """Number of pixels of each value, shape (group, band, value), int64, without saturated ones, but with nodata.
        It holds values up to the largest one counted, or more."""
        self.saturated = np.zeros((groups, bands), np.int64)
        """Number of saturated pixels, shape (group, band), int64."""
        self.empty_patches = np.zeros((groups, bands), np.int64)
        """Number of patches without any data in a band, shape (group, band), int64."""

    def add(self, pixels: npt.NDArray[Any], member: npt.NDArray[np.bool_]) -> None:
        """Count a batch of patches: pixels of shape (patch, row, col, band), and their `group_membership`."""
        flat = pixels.reshape(len(pixels), -1, self.bands)
        self.empty_patches += member.T.astype(np.int64) @ _empty_bands(flat, self._nodata_value)
        combinations, combination = np.unique(member, axis=0, return_inverse=True)
        rows_by_combination = [np.flatnonzero(combination == k) for k in range(len(combinations))]
        for band in range(self.bands):
            for groups, rows in zip(map(np.flatnonzero, combinations), rows_by_combination, strict=True):
                # a view if only one patch has this combination of groups, as is usual; otherwise a copy
                values = flat[rows[0], :, band] if len(rows) == 1 else flat[rows, :, band].ravel()
                self._add_values(band, groups, values)

    def _add_values(self, band: int, groups: npt.NDArray[np.intp], values: npt.NDArray[Any]) -> None:
        """Add values of patches that belong to these groups."""
        counts = np.bincount(values)
        saturated = self._saturated_value
        if saturated is not None and len(counts) == saturated + 1:
            self.saturated[groups, band] += counts[saturated]
            valid = np.flatnonzero(counts[:saturated])
            counts = counts[: valid[-1] + 1 if len(valid) else 1]
        self._grow(len(counts))
        for group in groups.tolist():
            self.valid[group, band, : len(counts)] += counts

    def merge(self, other: "ValueCounts") -> "ValueCounts":
        """Add the counts of other rows, for which group and band have the same shape, and return itself."""
        self._grow(other.valid.shape[2])
        self.valid[..., : other.valid.shape[2]] += other.valid
        self.saturated += other.saturated
        self.empty_patches += other.empty_patches
        return self

    def _grow(self, values: int) -> None:
        """Extend `valid` to hold this many values."""
        if values > self.valid.shape[2]:
            missing = -(-values // _GROWTH_VALUES) * _GROWTH_VALUES - self.valid.shape[2]
            self.valid = np.concatenate([self.valid, np.zeros((self.groups, self.bands, missing), np.int64)], 2)

    @property
    def nodata(self) -> npt.NDArray[np.int64]:
        """Number of nodata pixels, shape (group, band), int64."""
        if self._nodata_value is None or self._nodata_value >= self.valid.shape[2]:
            return np.zeros((self.groups, self.bands), np.int64)
        return self.valid[..., self._nodata_value]

    @property
    def count(self) -> npt.NDArray[np.int64]:
        """Number of valid pixels, shape (group, band), int64."""
        return np.asarray(self.valid.sum(-1) - self.nodata)

    @property
    def valid_counts(self) -> npt.NDArray[np.int64]:
        """Number of valid pixels of each value, shape (group, band, value), int64: `valid` without nodata."""
        counts = self.valid.copy()
        if self._nodata_value is not None:
            counts[..., self._nodata_value : self._nodata_value + 1] = 0
        return counts

    def sums(self, group: int, band: int) -> tuple[int, int]:
        """Return the exact sum and sum of squares of the valid pixels."""
        counts = self.valid[group, band]
        # Python's integers: sums of squares pass 64 bits at full size
        pairs = [(int(counts[v]), int(v)) for v in np.flatnonzero(counts) if v != self._nodata_value]
        return sum(n * v for n, v in pairs), sum(n * v * v for n, v in pairs)

    def quantiles(self, levels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return quantiles of the valid pixels, shape (group, band, level), in pixel values; NaN without valid pixels.

        Defined as numpy's "inverted_cdf": the smallest value that at least this fraction of the pixels does not exceed,
        which is always a value that occurs.
        """
        out = np.full((self.groups, self.bands, len(levels)), np.nan)
        count, counts = self.count, self.valid_counts
        for group, band in np.argwhere(count > 0).tolist():
            cumulated = np.cumsum(counts[group, band])
            ranks = np.maximum(np.ceil(levels * int(count[group, band])), 1)
            out[group, band] = np.searchsorted(cumulated, ranks)
        return out


def _empty_bands(pixels: npt.NDArray[Any], nodata_value: int | None) -> npt.NDArray[np.int64]:
    """1 where a band of a patch has no data at all, else 0, shape (patch, band); `pixels`: (patch, pixel, band)."""
    if nodata_value is None:
        return np.zeros((len(pixels), pixels.shape[2]), np.int64)
    empty: npt.NDArray[np.bool_] = pixels[:, 0] == nodata_value  # nearly always this rules out all
    for patch, band in np.argwhere(empty).tolist():
        empty[patch, band] = (pixels[patch, :, band] == nodata_value).all()
    return empty.astype(np.int64)
