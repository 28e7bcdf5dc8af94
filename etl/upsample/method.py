"""Ways of upsampling a patch to the 10 m grid: the halo that each needs, and the array that each fills.

Every method is a function of one patch's windows alone, so that its result depends neither on the unit of work nor on
the number of ranks. `none` leaves `data_super` out; `bilinear` is defined here; `dsen2` is imported, with TensorFlow,
only if it is chosen.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.upsample.bilinear import upsample_bilinear
from etl.upsample.network import NetworkWeights, WindowGeometry

__all__ = ["METHODS", "PRECISIONS", "PROCESSING_LEVEL", "Bilinear", "UpsampleMethod", "Upsampler"]

PROCESSING_LEVEL = "L2A"
"""Processing level of every product and patch that is upsampled here."""

METHODS = ("bilinear", "dsen2", "none")
"""Choices of `--upsample`."""

PRECISIONS = ("float32", "bfloat16")
"""Choices of `--precision`."""

# assumed speed of a network in floating point operations a second: on one core as measured beside decoding; on a
# GPU not measured
_CPU_FLOP_PER_S, _GPU_FLOP_PER_S = 240e9, 20e12


class Upsampler(Protocol):
    """Brings one patch to the 10 m grid."""

    halo_px: tuple[int, int, int]
    """Pixels that it needs around a patch, in each group's own pixels, finest group first."""

    def __call__(self, native: tuple[npt.NDArray[np.uint16], ...], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (12, 120, 120), uint16, in the band order of `data_super`.

        `native`: the three groups' windows with their halos, finest first, shape (band, row, col), uint16.
        """


class Bilinear:
    """Bilinear interpolation, aligned by pixel area."""

    halo_px = (0, 1, 1)

    def __call__(self, native: tuple[npt.NDArray[np.uint16], ...], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (12, row, col), uint16, from the three groups' windows; the 10 m bands are copied."""
        out[list(GROUPS[0].super_index)] = native[0]
        for group, window in zip(GROUPS[1:], native[1:], strict=True):
            out[list(group.super_index)] = upsample_bilinear(window, group.factor)


@dataclass(frozen=True, slots=True)
class UpsampleMethod:
    """The method that settings choose, before anything is computed."""

    name: str
    """One of METHODS."""

    networks: tuple[NetworkWeights, ...] = ()
    """The 20 m and the 60 m network of `dsen2`."""

    precision: str = "float32"
    """One of PRECISIONS: the type in which the networks compute."""

    @property
    def halo_px(self) -> tuple[int, int, int]:
        """Pixels that it needs around a patch, in each group's own pixels, finest group first."""
        if self.networks:
            return WindowGeometry.of(self.networks).halo_px
        return Bilinear.halo_px if self.name == "bilinear" else (0, 0, 0)

    def network_s(self, gpu: bool) -> float:
        """Return the seconds that a patch's networks should need; the plan uses only their ratio to decoding."""
        speed = _GPU_FLOP_PER_S if gpu else _CPU_FLOP_PER_S
        return sum(weights.flop(GROUPS[0].patch_px) for weights in self.networks) / speed

    def warnings(self) -> list[str]:
        """Return a sentence on each network that was not, or not surely, trained on pixels of this level."""
        return [
            f"{network.file} was trained on {network.level or 'a level that its name does not tell'}, "
            f"the pixels are {PROCESSING_LEVEL}: its {network.gsd_m} m bands may be off"
            for network in self.networks
            if network.level != PROCESSING_LEVEL
        ]

    def open(self) -> Upsampler | None:
        """Return the method, ready to run; None if nothing is upsampled. Imports TensorFlow for `dsen2`."""
        if self.name == "dsen2":
            from etl.upsample.dsen2 import DSen2

            return DSen2((self.networks[0], self.networks[1]), self.precision)
        return Bilinear() if self.name == "bilinear" else None
