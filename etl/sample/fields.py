"""Random fields that a landscape is carved from, on arrays alone, in blocks of rows.

Smooth fields are made whole, on a coarse grid of nodes, and read at any 10 m rows; parcels are computed for any rows
from coordinates alone. So a block of rows comes out the same whichever thread draws it, and a full tile fits in memory.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NODE_PX", "Parcels", "Rows", "at_rows", "blobs", "parcels_at", "smooth_field"]

F32 = npt.NDArray[np.float32]
U32 = npt.NDArray[np.uint32]

NODE_PX = 4
"""Spacing of the nodes of smooth fields, in 10 m pixels."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A run of rows of a tile's 10 m grid, over its whole width; the rows may reach over the tile's border."""

    first: int
    """First row."""

    stop: int
    """Row behind the last."""

    width: int
    """Columns."""


@dataclass(frozen=True, slots=True)
class Parcels:
    """Plots of land at some rows."""

    number: U32
    """32 random bits of the plot that each pixel lies in, shape (row, col)."""

    margin: npt.NDArray[np.bool_]
    """Whether the pixel lies on the plot's edge, shape (row, col)."""

    def share(self, byte: int) -> F32:
        """One of three random numbers of each plot, uniform in [0, 1], shape (row, col); `byte` is 1 to 3."""
        return ((self.number >> np.uint32(8 * byte)) & np.uint32(255)).astype(np.float32) * np.float32(1 / 255)


def smooth_field(rng: np.random.Generator, nodes: int, scale_m: float, roughness: float) -> F32:
    """A landscape-like field with uniform values in [0, 1], shape (node, node), so that a threshold is a share of land.

    Made of Gaussian noise whose amplitude falls with frequency f (1/m) as (f^2 + scale_m^-2)^(-roughness / 2).
    Source: Turcotte 1997, Fractals and Chaos in Geology and Geophysics, chapter 7 (Fourier filtering).
    """
    step_m = NODE_PX * 10
    down, right = np.fft.fftfreq(nodes, step_m)[:, None], np.fft.rfftfreq(nodes, step_m)[None, :]
    amplitude = (down**2 + right**2 + scale_m**-2) ** (-roughness / 2)
    white = rng.standard_normal((nodes, nodes), dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(nodes, nodes)).astype(np.float32)
    ranks = np.linspace(0, 1, 257)
    sample = field.ravel()[:: max(1, field.size // 200_000)]
    return np.interp(field, np.quantile(sample, ranks), ranks).astype(np.float32)


def at_rows(field: F32, rows: Rows) -> F32:
    """The field read at 10 m pixels by bilinear interpolation, shape (row, col)."""
    up, down, below = _neighbours(np.arange(rows.first, rows.stop), field.shape[0])
    left, right, beside = _neighbours(np.arange(rows.width), field.shape[1])
    used = field[up[0] : down[-1] + 1]
    across = used[:, left]
    across += (used[:, right] - across) * beside
    out: F32 = across[up - up[0]]
    out += (across[down - up[0]] - out) * below[:, None]
    return out


def _neighbours(pixels: npt.NDArray[np.int_], nodes: int) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_], F32]:
    """Nodes before and behind each pixel centre, and the weight of the one behind."""
    place = np.clip((pixels + 0.5) / NODE_PX - 0.5, 0, nodes - 1)
    before = np.floor(place).astype(np.int_)
    return before, np.minimum(before + 1, nodes - 1), (place - before).astype(np.float32)


def parcels_at(rows: Rows, side_px: tuple[float, float], angle: float, seed: int) -> Parcels:
    """Staggered plots of `side_px` 10 m pixels, turned by `angle` in radians, with margins 1 pixel wide."""
    y = np.arange(rows.first, rows.stop, dtype=np.float32)[:, None]
    x = np.arange(rows.width, dtype=np.float32)[None, :]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = (x * cos + y * sin) * np.float32(1 / side_px[0])
    column = np.floor(u)
    u -= column
    number = _scrambled(column.astype(np.int32).view(np.uint32) + np.uint32(seed))
    v = (y * cos - x * sin) * np.float32(1 / side_px[1])
    v += (number & np.uint32(1023)).astype(np.float32) * np.float32(1 / 1024)
    row = np.floor(v)
    v -= row
    number = _scrambled(number + row.astype(np.int32).view(np.uint32))
    margin = (np.abs(u - 0.5) > 0.5 - 0.5 / side_px[0]) | (np.abs(v - 0.5) > 0.5 - 0.5 / side_px[1])
    return Parcels(number, margin)


def _scrambled(values: U32) -> U32:
    """Well-mixed bits of each value. Source: Wellons 2018, nullprogram.com/blog/2018/07/31 (`lowbias32`)."""
    out = values ^ (values >> np.uint32(16))
    out *= np.uint32(0x7FEB352D)
    out ^= out >> np.uint32(15)
    out *= np.uint32(0x846CA68B)
    out ^= out >> np.uint32(16)
    return out


def blobs(rng: np.random.Generator, liking: F32, count: int, radius_m: float) -> F32:
    """`count` ragged discs of about `radius_m` on a ground of 0, 1 inside, shape (node, node), float32.

    Each lies in the middle of the best of several places, by `liking`, shape (node, node).
    """
    nodes = liking.shape[0]
    out = np.zeros((nodes, nodes), np.float32)
    ragged = smooth_field(rng, nodes, radius_m, 3.0) if count else out
    edge = NODE_PX * 10 / radius_m
    for _ in range(count):
        places = (rng.uniform(0.08, 0.92, (8, 2)) * nodes).astype(np.intp)
        middle, size = max(places, key=lambda place: float(liking[tuple(place)])), rng.uniform(0.75, 1.25) / edge
        reach = int(1.6 * size) + 1
        low = np.maximum(middle - reach, 0)
        window = (slice(low[0], middle[0] + reach), slice(low[1], middle[1] + reach))
        grid = np.indices(out[window].shape, np.float32) + low[:, None, None].astype(np.float32)
        distance = np.hypot(grid[0] - middle[0], grid[1] - middle[1]).astype(np.float32) / np.float32(size)
        inside = np.clip((1.35 - 0.7 * ragged[window] - distance) * np.float32(3), 0, 1)
        np.maximum(out[window], inside, out=out[window])
    return out
