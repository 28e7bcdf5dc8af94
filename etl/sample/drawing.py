"""Draw the sample's tiles: the three native groups of bands, the scene classification and the labels.

A tile is drawn in blocks of rows, each from its own random numbers: no pixel depends on the number of threads, and a
full tile needs little more memory than its own pixels.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS, NODATA
from etl.labels import CLASSES_43
from etl.sample.fields import RowRange
from etl.sample.landcover import COVERS, Land, draw_land, surface_at
from etl.sample.pixels import TilePixels
from etl.sample.product import ProductSpec
from etl.sample.regions import REGIONS, Region
from etl.sample.sensor import Atmosphere, classify_scene, digitise, draw_atmosphere, observe, outside_swath
from etl.settings import require_at_least, require_within, setting
from etl.source.patch import SCL_CLOUD, SCL_SNOW

__all__ = ["PATCH_PX", "DrawnTile", "SampleRecipe", "draw_tile"]

Mask = npt.NDArray[np.bool_]

PATCH_PX = 120
"""Side of a patch on the 10 m grid."""

BLOCK_PX = 2 * PATCH_PX
"""Rows drawn at a time: whole patches, which are also whole 60 m pixels."""

LABEL_SHARE = 0.1
"""A class is a label of a patch when it covers at least this share of it."""

LISTED_SHARE = 0.01
"""A patch is listed when at least this share of its scene classification is snow, or is cloud or its shadow."""


@dataclass(frozen=True, slots=True)
class SampleRecipe:
    """The settings that determine all of the sample's pixels and labels."""

    tile_px: int = setting(2400, "side of a tile on the 10 m grid, a multiple of 6; real tiles have 10980", "px")
    tiles: int = setting(4, "number of tiles, 1 to 8")
    seed: int = setting(0, "seed of all random numbers; the same seed gives the same pixels")

    def __post_init__(self) -> None:
        if not PATCH_PX <= self.tile_px <= 10_980 or self.tile_px % 6:
            raise ValueError(f"--tile-px must be a multiple of 6 in [{PATCH_PX}, 10980], got {self.tile_px}")
        require_within(self, tiles=(1, len(REGIONS)))
        require_at_least(self, seed=0)


@dataclass(frozen=True, slots=True, eq=False)
class DrawnTile(TilePixels):
    """A tile as drawn, with labels and flags of each of its patches, shapes (row j, col i)."""

    region: Region
    """Where it lies."""

    classes: npt.NDArray[np.uint8]
    """Multi-hot labels of the 43 classes, 0/1, shape (row j, col i, class)."""

    valid: Mask
    """Whether the patch has any pixel with data."""

    snow: Mask
    """Whether the patch belongs on the list of seasonal snow."""

    cloud: Mask
    """Whether the patch belongs on the list of cloud and cloud shadow; never one that is on the other list."""

    @property
    def spec(self) -> ProductSpec:
        """The product that holds the tile."""
        return self.region.product


@dataclass(frozen=True, slots=True, eq=False)
class _Canvas:
    """A tile that is being drawn; each thread writes to rows of its own."""

    land: Land
    atmosphere: Atmosphere
    groups: tuple[npt.NDArray[np.uint16], ...]
    scl: npt.NDArray[np.uint8]
    counts: npt.NDArray[np.int64]
    """Pixels with data of each patch and cover, shape (row j, col i, cover)."""


def draw_tile(settings: SampleRecipe, index: int, workers: int = 1) -> DrawnTile:
    """Tile number `index` of the sample: uint16 pixels, the same for any number of threads `workers`.

    Raises:
        ValueError: the recipe has no such tile.
    """
    if not 0 <= index < settings.tiles:
        raise ValueError(f"index must be in [0, tiles={settings.tiles}), got {index}")
    region, px = REGIONS[index], settings.tile_px
    # one generator for the tile as a whole and, in _block_painter, one for each block of rows
    canvas = _prepare(np.random.default_rng([settings.seed, index]), region, px)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(_block_painter(settings, index, canvas), range(0, px, BLOCK_PX)))
    valid = canvas.counts.sum(axis=-1) > 0
    snow, cloud = _exclusions(canvas.scl, px // PATCH_PX)
    data_10m, data_20m, data_60m = canvas.groups
    return DrawnTile(data_10m, data_20m, data_60m, canvas.scl, region, _labels(canvas.counts), valid, snow, cloud)


def _prepare(rng: np.random.Generator, region: Region, px: int) -> _Canvas:
    land, cells = draw_land(rng, px), px // PATCH_PX
    atmosphere = draw_atmosphere(rng, region.landscape, land.relief, cells)
    groups = tuple(np.zeros((px // g.factor, px // g.factor, len(g.bands)), np.uint16) for g in GROUPS)
    counts = np.zeros((cells, cells, len(COVERS)), np.int64)
    return _Canvas(land, atmosphere, groups, np.zeros((px // 2, px // 2), np.uint8), counts)


def _block_painter(settings: SampleRecipe, index: int, canvas: _Canvas) -> Callable[[int], None]:
    px, landscape = settings.tile_px, REGIONS[index].landscape

    def paint(first: int) -> None:
        """Draw one block of rows, from row `first` on."""
        rows = RowRange(first, min(first + BLOCK_PX, px), px)
        rng = np.random.default_rng([settings.seed, index, 1 + first // BLOCK_PX])
        # one more row on either side, which the blur of the optics takes away again
        surface = surface_at(canvas.land, landscape, RowRange(rows.first - 1, rows.stop + 1, px), rng)
        observed = observe(canvas.atmosphere, surface, rows)
        for group, data in zip(GROUPS, canvas.groups, strict=True):
            out = data[rows.first // group.factor : rows.stop // group.factor]
            for k, band in enumerate(group.super_index):
                digitise(observed.bands[band], rng, out[..., k])
            out[outside_swath(canvas.atmosphere, rows, group.factor)] = NODATA
        scl = canvas.scl[rows.first // 2 : rows.stop // 2]
        scl[...] = classify_scene(observed)
        scl[outside_swath(canvas.atmosphere, rows, 2)] = NODATA
        _count(surface.cover[1:-1], outside_swath(canvas.atmosphere, rows, 1), canvas.counts[first // PATCH_PX :])

    return paint


def _count(cover: npt.NDArray[np.uint8], outside: Mask, out: npt.NDArray[np.int64]) -> None:
    """Add up the pixels of each land cover in each whole patch of some rows of patches."""
    cells, kinds = out.shape[1:]
    number = cover.astype(np.intp)
    number[outside] = kinds  # a cover of its own, which is dropped
    for j in range(cover.shape[0] // PATCH_PX):
        patches = number[j * PATCH_PX : (j + 1) * PATCH_PX, : cells * PATCH_PX].reshape(PATCH_PX, cells, PATCH_PX)
        # patch and cover as one number: a single bincount then counts all patches of the row
        patches = patches + np.arange(cells)[None, :, None] * (kinds + 1)
        out[j] = np.bincount(patches.ravel(), minlength=cells * (kinds + 1)).reshape(cells, kinds + 1)[:, :kinds]


def _labels(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Multi-hot labels, shape (row j, col i, class 43): covers with enough pixels, and always the largest."""
    out = np.zeros((*counts.shape[:2], len(CLASSES_43)), np.uint8)
    enough = np.minimum(LABEL_SHARE * PATCH_PX**2, np.maximum(counts.max(axis=-1), 1))
    for number, cover in enumerate(COVERS):
        out[..., CLASSES_43.index(cover.label)] = counts[..., number] >= enough
    return out


def _exclusions(scl: npt.NDArray[np.uint8], cells: int) -> tuple[Mask, Mask]:
    """Patches listed for snow, and for cloud and shadow; one with both is listed for the larger of the two."""
    side = PATCH_PX // 2
    patches = scl[: cells * side, : cells * side].reshape(cells, side, cells, side)
    snow, cloud = (np.isin(patches, values).mean(axis=(1, 3)) for values in (SCL_SNOW, SCL_CLOUD))
    return (snow >= LISTED_SHARE) & (snow > cloud), (cloud >= LISTED_SHARE) & (cloud >= snow)
