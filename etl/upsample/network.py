"""A network of DSen2 as plain arrays: its convolutions, and the pixels around a patch that it depends on.

Source: Lanaras et al., ISPRS Journal 146 (2018) 305-319, arXiv 1803.04271.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS

__all__ = ["DIVISOR", "ConvWeights", "NetworkWeights", "WeightsError", "WindowGeometry"]

DIVISOR = 2000.0
"""Pixel values are divided by this before a network sees them. Source: the paper, section 4."""

# ground sample distance in metres of the bands that a network brings to 10 m, by the number of bands that it sees
_GSD_M = {sum(len(g.bands) for g in GROUPS[:2]): 20, sum(len(g.bands) for g in GROUPS): 60}

_OUTPUT_BANDS = {group.gsd_m: len(group.bands) for group in GROUPS[1:]}


class ConvWeights(NamedTuple):
    """Weights of one convolution."""

    kernel: npt.NDArray[np.float32]
    """Shape (row, col, in, out), float32."""

    bias: npt.NDArray[np.float32]
    """Shape (out,), float32."""


class WeightsError(ValueError):
    """A weights file cannot be used; the message says what must hold, what came, and in which file."""


@dataclass(frozen=True, slots=True, eq=False)
class NetworkWeights:
    """One network: convolution, residual blocks of two convolutions each, convolution; it predicts what to add."""

    file: str
    """Name of the file."""

    sha256: str
    """SHA-256 of the file's bytes, in hexadecimal."""

    level: str
    """Processing level of the products it was trained on, L1C or L2A; empty if the file does not say."""

    scale: float
    """Factor on the output of each residual block's second convolution."""

    names: tuple[str, ...]
    """Name of each convolution in the file."""

    layers: tuple[ConvWeights, ...]
    """The convolutions, in the order in which they are applied."""

    def __post_init__(self) -> None:
        if len(self.layers) < 4 or len(self.layers) % 2:
            raise WeightsError(
                f"{self.file} must hold 2 + 2 x blocks convolutions, at least one block, got {len(self.layers)}"
            )
        first = self.layers[0].kernel.shape
        if len(first) != 4 or first[2] not in _GSD_M:
            raise WeightsError(
                f"{self.file}: the kernel of {self.names[0]} must have shape (3, 3, 10, filters) for 20 m bands or "
                f"(3, 3, 12, filters) for 60 m bands, got {first}"
            )
        # bands into the first convolution, filters between them, bands out of the last
        channels = [first[2], *[first[3]] * (len(self.layers) - 1), _OUTPUT_BANDS[self.gsd_m]]
        for name, (kernel, bias), (into, out) in zip(self.names, self.layers, pairwise(channels), strict=True):
            for what, array, shape in (("kernel", kernel, (3, 3, into, out)), ("bias", bias, (out,))):
                if array.shape != shape or array.dtype != np.float32:
                    raise WeightsError(
                        f"{self.file}: the {what} of {name} must have shape {shape} and type float32, "
                        f"got {array.shape} and {array.dtype}"
                    )
                if not np.isfinite(array).all():
                    raise WeightsError(f"{self.file}: the {what} of {name} must be finite numbers")
        if self.level not in ("L1C", "L2A", "") or not 0 < self.scale <= 10:
            raise WeightsError(
                f"{self.file}: level must be L1C, L2A or empty and scale in (0, 10], got {self.level!r}, {self.scale}"
            )

    @property
    def gsd_m(self) -> int:
        """Ground sample distance in metres of the bands that it brings to 10 m: 20 or 60."""
        return _GSD_M[self.layers[0].kernel.shape[2]]

    @property
    def blocks(self) -> int:
        """Residual blocks: 6 in DSen2, 32 in VDSen2."""
        return len(self.layers) // 2 - 1

    @property
    def filters(self) -> int:
        """Filters of the inner convolutions: 128 in DSen2, 256 in VDSen2."""
        return int(self.layers[0].kernel.shape[3])

    @property
    def receptive_field_radius_px(self) -> int:
        """Pixels of 10 m on each side that an output pixel depends on: one for each 3 x 3 convolution."""
        return len(self.layers)

    def flop(self, side_px: int) -> float:
        """Return the floating point operations for a square of `side_px` x `side_px` output pixels.

        Each convolution computes only what the next one needs, so the first one has the largest output.
        """
        return float(sum(2 * (side_px + 2 * k) ** 2 * w.kernel.size for k, w in enumerate(reversed(self.layers))))

    def to_record(self) -> dict[str, Any]:
        """Return what a store's attributes and JSON records keep of it: file, hash, size, level."""
        size = {"blocks": self.blocks, "filters": self.filters}
        return {"file": self.file, "sha256": self.sha256, **size, "level": self.level or "unknown"}


@dataclass(frozen=True, slots=True)
class WindowGeometry:
    """How large a patch's windows must be for some networks."""

    receptive_field_radius_px: int
    """Of the network with the most convolutions, in pixels of 10 m: 14 for DSen2, 66 for VDSen2."""

    fill_radius_px: tuple[int, int, int]
    """Pixels around a patch that the networks see, by group in its own pixels: the receptive field and, if the group
    is interpolated, one more. Gaps are filled as far."""

    halo_px: tuple[int, int, int]
    """Twice that: the pixels that the networks see, and those from which gaps among them are filled."""

    @classmethod
    def of(cls, networks: Sequence[NetworkWeights]) -> "WindowGeometry":
        """Return what suffices for all of `networks`, in pixels of each group."""
        radius = max(weights.receptive_field_radius_px for weights in networks)
        ten, twenty, sixty = (-(-radius // group.factor) + (group.factor > 1) for group in GROUPS)
        return cls(radius, (ten, twenty, sixty), (2 * ten, 2 * twenty, 2 * sixty))
