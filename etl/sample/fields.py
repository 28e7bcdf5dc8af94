"""Random fields from which the landscape is drawn.

Smooth fields cover the whole tile on a coarse grid of nodes and are interpolated at any 10 m rows; parcels are computed
for any rows from coordinates alone. A block of rows is thus the same whichever thread draws it, and small in memory.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["NODE_PX", "Parcels", "RowRange", "at_rows", "blobs", "parcels_at", "smooth_field"]

F32 = npt.NDArray[np.float32]
U32 = npt.NDArray[np.uint32]

NODE_PX = 4
"""Spacing of the nodes of smooth fields, in 10 m pixels."""


@dataclass(frozen=True, slots=True)
class RowRange:
    """Consecutive rows of a tile's 10 m grid, over its whole width; they may extend beyond the tile's border."""

    first: int
    """First row."""

    stop: int
    """Row behind the last."""

    width: int
    """Columns."""


@dataclass(frozen=True, slots=True)
class Parcels:
    """Plots of land in a range of rows."""

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
    # quantiles of a sample of the values make the distribution uniform; sorting all values would take longer
    ranks = np.linspace(0, 1, 257)
    sample = field.ravel()[:: max(1, field.size // 200_000)]
    return np.interp(field, np.quantile(sample, ranks), ranks).astype(np.float32)


def at_rows(field: F32, rows: RowRange) -> F32:
    """The field interpolated bilinearly at 10 m pixels, shape (row, col)."""
    # only the nodes around these rows are interpolated, first along the columns, then along the rows
    up, down, below = _neighbours(np.arange(rows.first, rows.stop), field.shape[0])
    left, right, beside = _neighbours(np.arange(rows.width), field.shape[1])
    used = field[up[0] : down[-1] + 1]
    across = used[:, left]
    across += (used[:, right] - across) * beside
    out: F32 = across[up - up[0]]
    out += (across[down - up[0]] - out) * below[:, None]
    return out


def _neighbours(pixels: npt.NDArray[np.int_], nodes: int) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_], F32]:
    """Nodes before and after each pixel centre, and the weight of the one after."""
    position = np.clip((pixels + 0.5) / NODE_PX - 0.5, 0, nodes - 1)
    before = np.floor(position).astype(np.int_)
    return before, np.minimum(before + 1, nodes - 1), (position - before).astype(np.float32)


def parcels_at(rows: RowRange, side_px: tuple[float, float], angle: float, seed: int) -> Parcels:
    """Staggered plots of `side_px` 10 m pixels, turned by `angle` in radians, with margins 1 pixel wide."""
    y = np.arange(rows.first, rows.stop, dtype=np.float32)[:, None]
    x = np.arange(rows.width, dtype=np.float32)[None, :]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u = (x * cos + y * sin) * np.float32(1 / side_px[0])
    column = np.floor(u)
    u -= column  # u and v become positions inside the plot, in [0, 1)
    number = _mix_bits(column.astype(np.int32).view(np.uint32) + np.uint32(seed))
    v = (y * cos - x * sin) * np.float32(1 / side_px[1])
    # each column of plots is shifted by a random part of a plot, so that plots do not line up
    v += (number & np.uint32(1023)).astype(np.float32) * np.float32(1 / 1024)
    row = np.floor(v)
    v -= row
    number = _mix_bits(number + row.astype(np.int32).view(np.uint32))
    margin = (np.abs(u - 0.5) > 0.5 - 0.5 / side_px[0]) | (np.abs(v - 0.5) > 0.5 - 0.5 / side_px[1])
    return Parcels(number, margin)


def _mix_bits(values: U32) -> U32:
    """A hash of each value, uint32. Source: Wellons 2018, nullprogram.com/blog/2018/07/31 (`lowbias32`)."""
    out = values ^ (values >> np.uint32(16))
    out *= np.uint32(0x7FEB352D)
    out ^= out >> np.uint32(15)
    out *= np.uint32(0x846CA68B)
    out ^= out >> np.uint32(16)
    return out


def blobs(rng: np.random.Generator, liking: F32, count: int, radius_m: float) -> F32:
    """`count` discs with ragged edges: 1 inside, 0 outside, shape (node, node), float32; radius some `radius_m` metres.

    Each is centred on the best of eight random places, by `liking`, shape (node, node).
    """
    nodes = liking.shape[0]
    out = np.zeros((nodes, nodes), np.float32)
    ragged = smooth_field(rng, nodes, radius_m, 3.0) if count else out
    edge = NODE_PX * 10 / radius_m
    for _ in range(count):
        places = (rng.uniform(0.08, 0.92, (8, 2)) * nodes).astype(np.intp)
        middle, size = max(places, key=lambda place: float(liking[tuple(place)])), rng.uniform(0.75, 1.25) / edge
        # only a window around the disc is computed; no edge lies further out than 1.35 radii
        reach = int(1.6 * size) + 1
        low = np.maximum(middle - reach, 0)
        window = (slice(low[0], middle[0] + reach), slice(low[1], middle[1] + reach))
        grid = np.indices(out[window].shape, np.float32) + low[:, None, None].astype(np.float32)
        distance = np.hypot(grid[0] - middle[0], grid[1] - middle[1]).astype(np.float32) / np.float32(size)
        inside = np.clip((1.35 - 0.7 * ragged[window] - distance) * np.float32(3), 0, 1)
        np.maximum(out[window], inside, out=out[window])
    return out
