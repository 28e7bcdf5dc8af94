"""The patches of a drawn tile, as BigEarthNet lists them: names, corners, labels and splits."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from etl.bands import PATCH_M
from etl.grid import nominal_origin
from etl.labels import CLASSES_19, CLASSES_43, convert_to_19
from etl.sample.drawing import DrawnTile, SampleRecipe
from etl.sample.product import ProductSpec
from etl.sample.regions import REGIONS, Region

__all__ = ["SamplePatch", "draw_splits", "patches_of_tile"]

SPLIT_SHARES = {"train": 0.52, "val": 0.24, "test": 0.24}
"""About the shares of the published split."""

SPLIT_BLOCK = 5
"""Side, in patches, of the squares that are in one split as a whole, so that neighbours seldom are in two."""


@dataclass(frozen=True, slots=True)
class SamplePatch:
    """One patch of the sample."""

    tile: int
    """Index of its tile in `REGIONS`."""

    row: int
    """Row j on the tile's own 1200 m grid."""

    col: int
    """Column i on that grid."""

    ulx: int
    """Easting of the upper left corner in m."""

    uly: int
    """Northing of the upper left corner in m."""

    labels: tuple[str, ...]
    """CORINE classes of the 43, in published order."""

    labels_19: tuple[str, ...]
    """Classes of the 19, in published order; may be none."""

    split: str
    """train, val or test."""

    snow: bool
    """On the list of seasonal snow."""

    cloud: bool
    """On the list of cloud and cloud shadow."""

    @property
    def region(self) -> Region:
        """The region of its tile."""
        return REGIONS[self.tile]

    @property
    def product(self) -> ProductSpec:
        """The Level-2A product that holds it."""
        return self.region.product

    @property
    def name(self) -> str:
        """Name in BigEarthNet v1."""
        return f"{self.product.v1_prefix}_{self.col}_{self.row}"

    @property
    def name_v2(self) -> str:
        """Name in BigEarthNet v2."""
        return f"{self.product.v2_prefix}_{self.col:02d}_{self.row:02d}"

    @property
    def sentinel1_scene(self) -> str:
        """Beginning of the name of the patch of Sentinel-1, which is the same over its scene."""
        return self.region.sentinel_1

    @property
    def sentinel1_name(self) -> str:
        """Name of the patch of Sentinel-1 that belongs to it."""
        return f"{self.sentinel1_scene}_{self.product.tile}_{self.col}_{self.row}"

    @property
    def listed(self) -> bool:
        """Whether it is in a split list: neither excluded nor without a label of the 19."""
        return not self.snow and not self.cloud and bool(self.labels_19)


def patches_of_tile(settings: SampleRecipe, index: int, tile: DrawnTile) -> list[SamplePatch]:
    """The tile's patches in order of row j, column i, corners in metres; those without valid pixels are left out."""
    grid = replace(nominal_origin(tile.spec.tile), size_px=tile.tile_px)
    splits, coarse = draw_splits(settings, index), convert_to_19(tile.classes)
    out = []
    for j, i in np.argwhere(tile.valid).tolist():
        labels, labels_19 = _names(tile.classes[j, i], CLASSES_43), _names(coarse[j, i], CLASSES_19)
        ulx, uly = int(grid.ulx) + PATCH_M * i, int(grid.uly) - PATCH_M * j
        weather = bool(tile.snow[j, i]), bool(tile.cloud[j, i])
        out.append(SamplePatch(index, j, i, ulx, uly, labels, labels_19, str(splits[j, i]), *weather))
    return out


def _names(row: npt.NDArray[np.uint8], names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(names[k] for k in np.flatnonzero(row))


def draw_splits(settings: SampleRecipe, index: int) -> npt.NDArray[np.str_]:
    """Split of each cell of tile number `index`, shape (row j, col i), in squares of `SPLIT_BLOCK` patches."""
    cells = settings.tile_px * 10 // PATCH_M
    blocks = -(-cells // SPLIT_BLOCK)
    bounds = np.rint(np.cumsum([0.0, *SPLIT_SHARES.values()]) * blocks**2).astype(int)
    # the exact number of squares for each split, in random order
    splits = np.repeat(list(SPLIT_SHARES), np.diff(bounds))
    np.random.default_rng([settings.seed, index, 0]).shuffle(splits)
    squares = splits.reshape(blocks, blocks)
    return squares.repeat(SPLIT_BLOCK, axis=0).repeat(SPLIT_BLOCK, axis=1)[:cells, :cells]
