"""Layers of a tile, the JPEG 2000 blocks of each, and which blocks a patch needs.

Integer arithmetic only. Patches are counted by their row j and column i in the tile's patch grid, blocks by their row
by and column bx in a layer; sizes are in the layer's own pixels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M

__all__ = ["Layer", "blocks_of", "patch_window"]

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Layer:
    """Bands of a tile that share one pixel grid and one cut into blocks."""

    name: str
    """10m, 20m, 60m or scl (the scene classification, on the 20 m grid)."""

    gsd_m: int
    """Pixel side in m."""

    bands: int
    """Number of files that are decoded together."""

    size_px: tuple[int, int]
    """(rows, columns) in the layer's own pixels."""

    block_px: tuple[int, int]
    """(rows, columns) of one block in the layer's own pixels."""

    halo_px: int = 0
    """Own pixels around a patch that its upsampling reads."""

    @property
    def patch_px(self) -> int:
        """Side of a patch in own pixels."""
        return PATCH_M // self.gsd_m

    @property
    def blocks(self) -> tuple[int, int]:
        """Number of blocks along (rows, columns); the last ones may have fewer pixels."""
        return (-(-self.size_px[0] // self.block_px[0]), -(-self.size_px[1] // self.block_px[1]))

    def block_window(self, by: int, bx: int) -> tuple[int, int, int, int]:
        """(row, column, rows, columns) of a block in own pixels; blocks at the border are smaller."""
        (height, width), row, col = self.block_px, by * self.block_px[0], bx * self.block_px[1]
        return row, col, min(height, self.size_px[0] - row), min(width, self.size_px[1] - col)

    def block_pixels(self, index: int) -> int:
        """Number of pixels of a block, all bands counted, by its flat index."""
        _, _, rows, columns = self.block_window(*divmod(index, self.blocks[1]))
        return self.bands * rows * columns


def patch_window(layer: Layer, j: int, i: int) -> tuple[int, int, int, int]:
    """(row, column, rows, columns) of the patch with its halo, in the layer's pixels, not clipped to the tile."""
    side = layer.patch_px + 2 * layer.halo_px
    return j * layer.patch_px - layer.halo_px, i * layer.patch_px - layer.halo_px, side, side


def blocks_of(layer: Layer, j: Index, i: Index) -> Index:
    """Flat indices of the blocks that each patch needs, shape (patch, k).

    `j`, `i`: shape (patch,). A patch that needs fewer than k blocks repeats its last one.
    """
    rows = _along(j, layer.patch_px, layer.halo_px, layer.size_px[0], layer.block_px[0])
    columns = _along(i, layer.patch_px, layer.halo_px, layer.size_px[1], layer.block_px[1])
    flat = rows[:, :, None] * layer.blocks[1] + columns[:, None, :]
    return flat.reshape(len(j), flat.shape[1] * flat.shape[2])


def _along(k: Index, patch: int, halo: int, size: int, block: int) -> Index:
    """Block indices along one axis, shape (patch, most blocks that any patch meets)."""
    first = np.maximum(k * patch - halo, 0) // block
    last = np.minimum((k + 1) * patch - 1 + halo, size - 1) // block
    most = int((last - first).max(initial=0)) + 1
    blocks: Index = np.minimum(first[:, None] + np.arange(most), last[:, None])
    return blocks
