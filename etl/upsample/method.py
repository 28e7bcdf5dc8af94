"""The seam between a source and an upsampling method: what context a method needs, and what it fills.

Every method is a function of one patch's windows alone, so that its result depends neither on the unit of work nor on
the number of ranks. `none` leaves `data_super` out; `bilinear` is done here; DSen2 will need a wider context.
"""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.upsample.bilinear import upsample

__all__ = ["METHODS", "Bilinear", "Upsampler"]


class Upsampler(Protocol):
    """Brings one patch to the 10 m grid."""

    context_px: tuple[int, int, int]
    """Pixels of context that it needs around a patch, in each group's own pixels, finest group first."""

    def __call__(self, native: tuple[npt.NDArray[np.uint16], ...], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out`, shape (120, 120, 12), uint16, in the band order of `data_super`, from windows with context."""


class Bilinear:
    """Bilinear interpolation, aligned by pixel area."""

    context_px = (0, 1, 1)

    def __call__(self, native: tuple[npt.NDArray[np.uint16], ...], out: npt.NDArray[np.uint16]) -> None:
        """Fill `out` from the three groups; the 10 m bands are copied."""
        out[..., list(GROUPS[0].super_index)] = native[0]
        for group, window in zip(GROUPS[1:], native[1:], strict=True):
            out[..., list(group.super_index)] = upsample(window, group.factor)


METHODS: dict[str, type[Upsampler] | None] = {"bilinear": Bilinear, "none": None}
"""Methods by the name that `--upsample` takes."""
