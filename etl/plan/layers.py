"""Layers of a product, the JPEG 2000 blocks of each, and which blocks a patch needs.

Integer arithmetic only. Patches are counted by their row and column in the tile's patch grid, blocks by their row and
column in a layer; sizes are in the layer's own pixels.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.grid import PixelWindow

__all__ = ["IntArray", "Layer", "block_pixel_counts", "blocks_of", "patch_window"]

IntArray = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Layer:
    """Bands of a product that share one pixel grid and one division into blocks."""

    name: str
    """10m, 20m, 60m or scl (the scene classification, on the 20 m grid)."""

    gsd_m: int
    """Pixel side in m."""

    band_count: int
    """Number of bands, each a file; a block is decoded in all of them together."""

    size_px: tuple[int, int]
    """(rows, columns) in the layer's own pixels."""

    block_px: tuple[int, int]
    """(rows, columns) of one block in the layer's own pixels."""

    halo_px: int = 0
    """Own pixels around a patch that its upsampling reads."""

    decode_cost: float = 1.0
    """Time to decode a pixel, relative to one of lossless JPEG 2000."""

    @property
    def patch_px(self) -> int:
        """Side of a patch in own pixels."""
        return PATCH_M // self.gsd_m

    @property
    def block_grid(self) -> tuple[int, int]:
        """Number of blocks along (rows, columns); the last ones may have fewer pixels."""
        return (-(-self.size_px[0] // self.block_px[0]), -(-self.size_px[1] // self.block_px[1]))

    def block_window(self, index: int) -> PixelWindow:
        """Own pixels of a block, by its flat index; blocks at the lower and right border are smaller."""
        (height, width), (block_row, block_col) = self.block_px, divmod(index, self.block_grid[1])
        row, col = block_row * height, block_col * width
        return PixelWindow(row, col, min(height, self.size_px[0] - row), min(width, self.size_px[1] - col))

    def block_pixels(self, index: int) -> int:
        """Number of pixels of a block, all bands counted, by its flat index."""
        window = self.block_window(index)
        return self.band_count * window.height * window.width


@lru_cache(maxsize=256)  # products of a few kinds share their layers
def block_pixel_counts(layer: Layer) -> IntArray:
    """Pixels of JPEG 2000 that take as long to decode as each block of a layer, shape (block,), by flat index.

    All bands are counted.
    """
    height, width = (
        np.minimum(block, size - block * np.arange(count))
        for block, size, count in zip(layer.block_px, layer.size_px, layer.block_grid, strict=True)
    )
    pixels = layer.band_count * np.outer(height, width).ravel()
    counts: IntArray = pixels if layer.decode_cost == 1 else np.ceil(pixels * layer.decode_cost).astype(np.intp)
    counts.flags.writeable = False
    return counts


def patch_window(layer: Layer, patch_row: int, patch_col: int) -> PixelWindow:
    """The patch with its halo, in the layer's own pixels; it may reach beyond the tile."""
    side = layer.patch_px + 2 * layer.halo_px
    row, col = (k * layer.patch_px - layer.halo_px for k in (patch_row, patch_col))
    return PixelWindow(row, col, side, side)


def blocks_of(layer: Layer, patch_row: IntArray, patch_col: IntArray) -> IntArray:
    """Flat indices of the blocks that each patch needs, shape (patch, k).

    `patch_row`, `patch_col`: shape (patch,). A patch that needs fewer than k blocks repeats its last one.
    """
    rows = _blocks_on_axis(patch_row, layer.patch_px, layer.halo_px, layer.size_px[0], layer.block_px[0])
    columns = _blocks_on_axis(patch_col, layer.patch_px, layer.halo_px, layer.size_px[1], layer.block_px[1])
    flat = rows[:, :, None] * layer.block_grid[1] + columns[:, None, :]
    return flat.reshape(len(patch_row), flat.shape[1] * flat.shape[2])


def _blocks_on_axis(position: IntArray, patch: int, halo: int, size: int, block: int) -> IntArray:
    """Indices of the blocks that each patch overlaps along one axis, shape (patch, k); the last is repeated.

    `position`: of each patch on the axis of the patch grid, shape (patch,); all others in pixels.
    """
    first = np.maximum(position * patch - halo, 0) // block
    last = np.minimum((position + 1) * patch - 1 + halo, size - 1) // block
    most = int((last - first).max(initial=0)) + 1
    blocks: IntArray = np.minimum(first[:, None] + np.arange(most), last[:, None])
    return blocks
