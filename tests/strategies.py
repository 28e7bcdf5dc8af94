"""What the core works on: Hypothesis strategies, and full tiles."""

import numpy as np
from hypothesis import strategies as st

from etl.plan.layers import Layer
from etl.plan.work import ProductPatches


@st.composite
def layers(draw: st.DrawFn, tile_px: int) -> tuple[Layer, ...]:
    """Layers of a tile of `tile_px` pixels at 10 m, with blocks of any size."""
    out = []
    for name, gsd_m, bands, context in (("10m", 10, 4, 0), ("20m", 20, 6, 1), ("60m", 60, 2, 1), ("scl", 20, 1, 0)):
        size = tile_px * 10 // gsd_m
        block = draw(st.integers(max(1, size // 6), size + 5))
        out.append(Layer(name, gsd_m, bands, (size, size), (block, block), context))
    return tuple(out)


@st.composite
def products(draw: st.DrawFn) -> list[ProductPatches]:
    """One to four products with any of their patches pending, as rows of one store."""
    out, first = [], 0
    for _ in range(draw(st.integers(1, 4))):
        cells = draw(st.integers(1, 8))
        kept = np.array(draw(st.lists(st.booleans(), min_size=cells * cells, max_size=cells * cells)))
        j, i = np.divmod(np.flatnonzero(kept), cells)
        rows = first + np.flatnonzero(kept)
        out.append(ProductPatches(rows, j, i, draw(layers(cells * 120))))
        first += cells * cells
    return out


def full_products(count: int) -> list[ProductPatches]:
    """Products of 91 x 91 patches in blocks as real ones have them."""
    cut = ((10, 4, 1024, 0), (20, 6, 640, 1), (60, 2, 192, 1))
    parts = tuple(Layer(f"{g}m", g, n, (109800 // g,) * 2, (b,) * 2, c) for g, n, b, c in cut)
    j, i = np.divmod(np.arange(91 * 91), 91)
    return [ProductPatches(np.arange(8281) + 8281 * k, j, i, parts) for k in range(count)]


@st.composite
def windows(draw: st.DrawFn) -> np.ndarray:
    """A square window with one pixel of context, shape (band, row, col), uint16, with some nodata and saturation."""
    side = draw(st.integers(1, 5)) + 2
    bands = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pixels = rng.integers(0, 65536, (bands, side, side)).astype(np.uint16)
    gaps = draw(st.sampled_from([0.0, 0.3]))
    pixels[rng.random(pixels.shape) < gaps] = draw(st.sampled_from([0, 65535]))
    return pixels
