"""How often each value occurs, exactly, by group of patches and band: the one pass over the pixels.

A group is a split or a class; a patch counts in its split and in each of its classes. Patches of one batch that belong
to the same groups are counted together, so that every pixel is counted once, and its count added to each group.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from etl.bands import NODATA, SATURATED
from etl.schema import SPLITS

__all__ = ["Counts", "groups_of"]

_VALUES = SATURATED + 1

_ROOM, _STEP = 16384, 4096
"""Room is made for this many values at first, and for this many more at a time: brighter pixels are rare."""


def groups_of(split: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Which groups each patch belongs to, shape (patch, group): the splits of the schema, then the classes."""
    splits = np.minimum(split, len(SPLITS) - 1)[:, None] == np.arange(len(SPLITS))
    return np.concatenate([splits, classes > 0], 1)


@dataclass(slots=True, eq=False)
class Counts:
    """Counts of one pixel array, for any number of its rows."""

    groups: int
    """Number of groups."""

    bands: int
    """Number of bands."""

    valid: npt.NDArray[np.int64] = field(init=False)
    """Pixels by value, shape (group, band, value), of values up to the largest valid one seen or more; nodata
    at 0, saturated pixels not among them."""

    saturated: npt.NDArray[np.int64] = field(init=False)
    """Saturated pixels, shape (group, band)."""

    def __post_init__(self) -> None:
        self.valid = np.zeros((self.groups, self.bands, _ROOM), np.int64)
        self.saturated = np.zeros((self.groups, self.bands), np.int64)

    def add(self, pixels: npt.NDArray[np.uint16], member: npt.NDArray[np.bool_]) -> None:
        """Count a batch of patches: pixels of shape (patch, row, col, band), `groups_of` the same."""
        flat = pixels.reshape(len(pixels), -1, self.bands)
        kinds, kind = np.unique(member, axis=0, return_inverse=True)
        rows = [np.flatnonzero(kind == k) for k in range(len(kinds))]
        for band in range(self.bands):
            for groups, mine in zip(map(np.flatnonzero, kinds), rows, strict=True):
                self._count(band, groups, flat[mine[0], :, band] if len(mine) == 1 else flat[mine, :, band].ravel())

    def _count(self, band: int, groups: npt.NDArray[np.intp], values: npt.NDArray[np.uint16]) -> None:
        """Add values of patches that belong to these groups."""
        counts = np.bincount(values)
        if len(counts) == _VALUES:
            self.saturated[groups, band] += counts[SATURATED]
            held = np.flatnonzero(counts[:SATURATED])
            counts = counts[: held[-1] + 1 if len(held) else 1]
        self._widen(len(counts))
        for group in groups.tolist():
            self.valid[group, band, : len(counts)] += counts

    def merge(self, other: "Counts") -> "Counts":
        """With the counts of other rows added."""
        self._widen(other.valid.shape[2])
        self.valid[..., : other.valid.shape[2]] += other.valid
        self.saturated += other.saturated
        return self

    def _widen(self, values: int) -> None:
        """Make room for this many values."""
        if values > self.valid.shape[2]:
            missing = -(-values // _STEP) * _STEP - self.valid.shape[2]
            self.valid = np.concatenate([self.valid, np.zeros((self.groups, self.bands, missing), np.int64)], 2)

    @property
    def nodata(self) -> npt.NDArray[np.int64]:
        """Pixels without data, shape (group, band)."""
        return self.valid[..., NODATA]

    @property
    def count(self) -> npt.NDArray[np.int64]:
        """Valid pixels, shape (group, band)."""
        return np.asarray(self.valid[..., NODATA + 1 :].sum(-1))

    def sums(self, group: int, band: int) -> tuple[int, int]:
        """Exact sum and sum of squares of the valid pixels."""
        counts = self.valid[group, band, NODATA + 1 :]
        values = np.flatnonzero(counts)
        pairs = [(int(counts[v]), int(v) + NODATA + 1) for v in values]
        return sum(n * v for n, v in pairs), sum(n * v * v for n, v in pairs)

    def percentiles(self, shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Smallest value that at least each share of the valid pixels does not pass, shape (group, band, share).

        NaN where there is none. The definition "inverted_cdf" of numpy: always a value that occurs.
        """
        out = np.full((self.groups, self.bands, len(shares)), np.nan)
        count = self.count
        for group, band in np.argwhere(count > 0).tolist():
            cumulated = np.cumsum(self.valid[group, band, NODATA + 1 :])
            wanted = np.maximum(np.ceil(shares * int(count[group, band])), 1)
            out[group, band] = np.searchsorted(cumulated, wanted) + NODATA + 1
        return out
