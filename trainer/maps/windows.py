"""Windows across neighbouring patches: places between those of a store's rows, with pixels of up to four of them.

The pixels of a window are those that extraction would have cut there: patches of one acquisition lie side by side
without a gap, and bands of 20 m and 60 m were upsampled with the pixels around a patch.
"""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.store.reader import StoreReader
from trainer.data.selection import SelectedRows
from trainer.maps.places import CellGrid

__all__ = ["WindowReader", "straddling_windows"]


class WindowReader:
    """Reads windows as if they were rows of a store."""

    def __init__(self, store: StoreReader, neighbours: npt.NDArray[np.int64], shift_m: npt.NDArray[np.int64]) -> None:
        """Windows by the rows of the store that they lie on.

        `neighbours`, (window, 4): the rows to the north-west, north-east, south-west and south-east, repeated if a
        window lies on fewer. `shift_m`, (window, 2): how far it lies south and east of the first one, 0 to 1199 m.
        """
        self._store, self._neighbours, self._shift_m = store, neighbours, shift_m

    def read_rows(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out`, shape (window, row, col, band), in the stored dtype, with the windows `rows` of a pixel array.

        Raises:
            ValueError: bytes of the store are not what was written.
            OSError: the store is truncated, or cannot be reached.
        """
        wanted, where = np.unique(self._neighbours[rows], return_inverse=True)
        patches, side = self._store.read(name, wanted), out.shape[1]
        shifts_px = self._shift_m[rows] * side // PATCH_M
        for window, corners, (down, right) in zip(out, where.reshape(-1, 4), shifts_px.tolist(), strict=True):
            north_west, north_east, south_west, south_east = patches[corners]
            below, beyond = side - down, side - right
            window[:below, :beyond] = north_west[down:, right:]
            window[:below, beyond:] = north_east[down:, :right]
            window[below:, :beyond] = south_west[:down, right:]
            window[below:, beyond:] = south_east[:down, :right]


def straddling_windows(rows: SelectedRows, grids: list[CellGrid], stride_m: int) -> tuple[SelectedRows, list[CellGrid]]:
    """Windows every `stride_m` metres, as rows without labels, and the grids of their cells.

    A cell is the square of `stride_m` in the middle of its window. `stride_m` divides 1200, and a pixel of each pixel
    array divides it. Windows that do not wholly lie on patches of `rows` are left out.
    """
    steps = PATCH_M // stride_m
    neighbours, shifts_m, fine_grids, count = [], [], [], 0
    for grid in grids:
        height, width = ((length - 1) * steps + 1 for length in grid.index.shape)
        (row, down), (col, right) = (np.divmod(np.arange(length), steps) for length in (height, width))
        beside = row, row + (down > 0), col, col + (right > 0)
        north, south, west, east = beside
        around = np.stack([grid.index[np.ix_(j, i)] for j in (north, south) for i in (west, east)], -1)
        covered = (around >= 0).all(-1)
        index = np.full((height, width), -1, np.int64)
        index[covered] = count + np.arange(covered.sum())
        count += int(covered.sum())
        neighbours.append(rows.store_rows[around[covered]])
        shifts_m.append(np.stack(np.meshgrid(down, right, indexing="ij"), -1)[covered] * stride_m)
        inset = (PATCH_M - stride_m) / 2
        fine_grids.append(replace(grid, ulx=grid.ulx + inset, uly=grid.uly - inset, cell_m=stride_m, index=index))
    reader = WindowReader(rows.reader, np.concatenate(neighbours), np.concatenate(shifts_m))
    labels = np.zeros((count, rows.labels.shape[1]), np.uint8)
    # of a reader, predictions ask for nothing but `read_rows`
    windows = replace(rows, reader=cast("StoreReader", reader), store_rows=np.arange(count), labels=labels)
    return windows, fine_grids
