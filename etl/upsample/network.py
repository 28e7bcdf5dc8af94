"""What a network of DSen2 is, as plain arrays: its convolutions, and what it looks at around a patch.

Source: Lanaras et al., ISPRS Journal 146 (2018) 305-319, arXiv 1803.04271.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS

__all__ = ["DIVISOR", "Geometry", "Layer", "Weights", "WeightsError"]

DIVISOR = 2000.0
"""Pixel values are divided by this before a network sees them. Source: the paper, section 4."""

_INPUTS = {20: sum(len(g.bands) for g in GROUPS[:2]), 60: sum(len(g.bands) for g in GROUPS)}
"""Bands that a network sees, by the ground sample distance of those that it brings to 10 m."""

_OUTPUTS = {group.gsd_m: len(group.bands) for group in GROUPS[1:]}

Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Kernel, shape (row, col, in, out), and bias, shape (out,), of one convolution."""


class WeightsError(ValueError):
    """A weights file cannot be used; the message says what must hold, what came, and in which file."""


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """One network: convolution, residual blocks of two convolutions each, convolution, plus the upsampled input."""

    file: str
    """Name of the file."""

    sha256: str
    """Of the file's bytes, in hexadecimal."""

    level: str
    """Level of the products it was trained on, L1C or L2A; empty where the file does not tell."""

    scale: float
    """What a residual block's second convolution is multiplied by."""

    names: tuple[str, ...]
    """Name in the file of each convolution."""

    layers: tuple[Layer, ...]
    """The convolutions, in the order in which they are applied."""

    def __post_init__(self) -> None:
        if len(self.layers) < 4 or len(self.layers) % 2:
            raise WeightsError(
                f"{self.file} must hold 2 + 2 x blocks convolutions, at least one block, got {len(self.layers)}"
            )
        inputs, filters = self._shape(0)[2:]
        if inputs not in _INPUTS.values():
            raise WeightsError(
                f"{self.file}: the kernel of {self.names[0]} must have shape (3, 3, 10, filters) for 20 m bands or "
                f"(3, 3, 12, filters) for 60 m bands, got {self._shape(0)}"
            )
        for number, (kernel, bias) in enumerate(self.layers):
            into = inputs if number == 0 else filters
            out = _OUTPUTS[self.gsd_m] if number == len(self.layers) - 1 else filters
            for what, array, shape in (("kernel", kernel, (3, 3, into, out)), ("bias", bias, (out,))):
                if array.shape != shape or array.dtype != np.float32:
                    raise WeightsError(
                        f"{self.file}: the {what} of {self.names[number]} must have shape {shape} and type float32, "
                        f"got {array.shape} and {array.dtype}"
                    )
                if not np.isfinite(array).all():
                    raise WeightsError(f"{self.file}: the {what} of {self.names[number]} must be finite numbers")
        if self.level not in ("L1C", "L2A", "") or not 0 < self.scale <= 10:
            raise WeightsError(
                f"{self.file}: level must be L1C, L2A or empty and scale in (0, 10], got {self.level!r}, {self.scale}"
            )

    def _shape(self, number: int) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.layers[number][0].shape
        if len(shape) != 4:
            raise WeightsError(
                f"{self.file}: the kernel of {self.names[number]} must have shape (3, 3, in, out), got {shape}"
            )
        return shape

    @property
    def gsd_m(self) -> int:
        """Ground sample distance of the bands that it brings to 10 m: 20 or 60."""
        inputs = self.layers[0][0].shape[2]
        return next(gsd_m for gsd_m, bands in _INPUTS.items() if bands == inputs)

    @property
    def blocks(self) -> int:
        """Residual blocks: 6 in DSen2, 32 in VDSen2."""
        return len(self.layers) // 2 - 1

    @property
    def filters(self) -> int:
        """Filters of the inner convolutions: 128 in DSen2, 256 in VDSen2."""
        return int(self.layers[0][0].shape[3])

    @property
    def reach_px(self) -> int:
        """Pixels of 10 m on each side that an output pixel depends on: one a convolution."""
        return len(self.layers)

    def flop(self, side_px: int) -> float:
        """Floating point operations for a square of `side_px` outputs, each convolution doing what the next needs."""
        sides = [side_px + 2 * (self.reach_px - 1 - number) for number in range(self.reach_px)]
        return float(sum(2 * side**2 * kernel.size for side, (kernel, _) in zip(sides, self.layers, strict=True)))

    def said(self) -> dict[str, Any]:
        """What a record keeps of it."""
        shape = {"blocks": self.blocks, "filters": self.filters, "level": self.level or "unknown"}
        return {"file": self.file, "sha256": self.sha256, **shape}


@dataclass(frozen=True, slots=True)
class Geometry:
    """What networks look at around a patch."""

    reach_px: int
    """Of the wider one, in pixels of 10 m: 14 for DSen2, 66 for VDSen2."""

    rings_px: tuple[int, int, int]
    """What a network sees of each group, in whole pixels of its own: the reach and, where the group is interpolated,
    one more. Gaps are filled as far."""

    context_px: tuple[int, int, int]
    """Twice that: what is seen, and what its gaps are filled from."""

    @classmethod
    def of(cls, networks: Sequence[Weights]) -> "Geometry":
        """For all of some networks."""
        reach = max(weights.reach_px for weights in networks)
        ten, twenty, sixty = (-(-reach // group.factor) + (group.factor > 1) for group in GROUPS)
        return cls(reach, (ten, twenty, sixty), (2 * ten, 2 * twenty, 2 * sixty))
