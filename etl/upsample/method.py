"""The seam between a source and an upsampling method: what context a method needs, and what it fills.

Every method is a function of one patch's windows alone, so that its result depends neither on the unit of work nor on
the number of ranks. `none` leaves `data_super` out; `bilinear` is done here; `dsen2` is imported, with TensorFlow, only
where it is asked for.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.upsample.bilinear import upsample
from etl.upsample.network import Geometry, Weights

__all__ = ["LEVEL", "METHODS", "PRECISIONS", "Bilinear", "Method", "Upsampler"]

LEVEL = "L2A"
"""Processing level of every product and patch that is upsampled here."""

METHODS = ("bilinear", "dsen2", "none")
"""What `--upsample` takes."""

PRECISIONS = ("float32", "bfloat16")
"""What `--precision` takes."""

_FLOP_PER_S = {False: 240e9, True: 20e12}
"""Floating point operations a second that a network is taken to do: on one core, as measured where decoding was; on a
GPU, which nobody has measured yet."""


class Upsampler(Protocol):
    """Brings one patch to the 10 m grid."""

    context_px: tuple[int, int, int]
    """Pixels of context that it needs around a patch, in each group's own pixels, finest group first."""

    def __call__(self, native: tuple[npt.NDArray[np.uint16], ...], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (12, 120, 120), uint16, in the band order of `data_super`.

        `native`: the three groups' windows with context, finest first, shape (band, row, col), uint16.
        """


class Bilinear:
    """Bilinear interpolation, aligned by pixel area."""

    context_px = (0, 1, 1)

    def __call__(self, native: tuple[npt.NDArray[np.uint16], ...], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out` from the three groups; the 10 m bands are copied."""
        out[list(GROUPS[0].super_index)] = native[0]
        for group, window in zip(GROUPS[1:], native[1:], strict=True):
            out[list(group.super_index)] = upsample(window, group.factor)


@dataclass(frozen=True, slots=True)
class Method:
    """A way of upsampling that was chosen, before anything is computed."""

    name: str
    """One of METHODS."""

    networks: tuple[Weights, ...] = ()
    """The 20 m and the 60 m network of `dsen2`."""

    precision: str = "float32"
    """One of PRECISIONS: what the networks compute in."""

    @property
    def context_px(self) -> tuple[int, int, int]:
        """Pixels around a patch that it looks at, by group."""
        if self.networks:
            return Geometry.of(self.networks).context_px
        return Bilinear.context_px if self.name == "bilinear" else (0, 0, 0)

    def network_s(self, gpu: bool) -> float:
        """Seconds that a patch's networks are taken to need; only their ratio to decoding matters."""
        return sum(weights.flop(GROUPS[0].patch_px) for weights in self.networks) / _FLOP_PER_S[gpu]

    def warnings(self) -> list[str]:
        """A word on each network that is not known to be trained on pixels like these."""
        return [
            f"{network.file} was trained on {network.level or 'a level that its name does not tell'}, "
            f"the pixels are {LEVEL}: its {network.gsd_m} m bands may be off"
            for network in self.networks
            if network.level != LEVEL
        ]

    def open(self) -> Upsampler | None:
        """The method, ready to run; None where nothing is upsampled. Imports TensorFlow for `dsen2`."""
        if self.name == "dsen2":
            from etl.upsample.dsen2 import DSen2

            return DSen2((self.networks[0], self.networks[1]), self.precision)
        return Bilinear() if self.name == "bilinear" else None
