"""The land cover of a tile: the cover of each pixel, and the two materials that it is mixed from.

Covers are assigned from smooth fields in a fixed order (open land in plots, then forest, heath, mountains, towns,
water); each replaces what the ones before it have put there. Labels are then counted from the pixels.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.sample.fields import NODE_PX, Parcels, RowRange, at_rows, parcels_at, smooth_field
from etl.sample.regions import Landscape
from etl.sample.spectra import GLINT, material_index
from etl.tables import read_table

__all__ = ["COVERS", "Cover", "Land", "LandSurface", "draw_land", "surface_at"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]

_CHOICES = 16

_GLINTING = 3.3
"""Noise, in standard deviations, above which a roof mirrors the sun."""


@dataclass(frozen=True, slots=True)
class Cover:
    """One land cover and the materials that it consists of."""

    label: str
    """CORINE class, of the 43."""

    main: tuple[str, ...]
    """Each plot has one of these materials; one named twice is twice as likely."""

    second: str
    """Material mixed into it."""

    share: float
    """Mean share of the second material."""

    by_plot: float
    """Range over which the share varies from plot to plot."""

    by_clump: float
    """Range over which the share varies every 40 m: large where two materials lie side by side."""

    tone: float
    """Range over which brightness varies from plot to plot."""

    grain: float
    """Standard deviation of brightness from pixel to pixel."""


def _cover(row: dict[str, str]) -> Cover:
    numbers = (float(row[name]) for name in ("share", "by_plot", "by_clump", "tone", "grain"))
    return Cover(row["label"], tuple(row["main"].split()), row["second"], *numbers)


COVERS = tuple(map(_cover, read_table(__file__, "covers.csv")))
"""Every cover; its index is its number in `LandSurface.cover`."""

(ARABLE, PASTURE, COMPLEX, MOSAIC, BROADLEAF, MIXED, CONIFER, SHRUB, HEATH, PEAT) = range(10)
(GRASSLAND, ROCK, BURNT, SUBURB, CITY, INDUSTRY, QUARRY, RIVER, LAKE, SEA) = range(10, 20)


@dataclass(frozen=True, slots=True)
class Land:
    """Smooth fields over a whole tile and the directions of its plots, from which its land cover follows."""

    relief: F32
    """Height, shape (node, node), 0 to 1 uniform like all the fields."""

    river: F32
    """Rivers run along its contour 0.5."""

    town: F32
    """High in towns."""

    wood: F32
    """High in forests."""

    kind: F32
    """Decides which open land, which forest."""

    wet: F32
    """High in heath and bogs."""

    scar: F32
    """High in burnt areas, low in quarries."""

    clump: F32
    """White noise at 40 m."""

    angles: tuple[float, ...]
    """Directions of the plots' sides in radians."""

    seed: int
    """Seed of the plots' random bits."""


@dataclass(frozen=True, slots=True)
class LandSurface:
    """The surface in a range of rows of the 10 m grid; all arrays of shape (row, col)."""

    cover: U8
    """Index into `COVERS`."""

    main: U8
    """Index of the first material in `etl.sample.spectra`."""

    second: U8
    """Index of the second material."""

    share: F32
    """Share of the second material, 0 to 1."""

    tone: F32
    """Brightness, about 1."""

    vigour: F32
    """How well plants grow on the plot, 0 to 1."""


_SCALES = {
    "relief": (6000, 3.4),
    "river": (6000, 3.2),
    "town": (2600, 3.6),
    "wood": (3200, 3.1),
    "kind": (4500, 3.6),
    "wet": (3000, 3.4),
    "scar": (2600, 3.6),
}
"""Scale in m and roughness of each field."""


def draw_land(rng: np.random.Generator, tile_px: int) -> Land:
    """A tile's land; the fields' scales are in metres, so a larger tile shows more land of the same kind."""
    nodes = -(-tile_px // NODE_PX)
    smooth = {name: smooth_field(rng, nodes, scale_m, roughness) for name, (scale_m, roughness) in _SCALES.items()}
    clump = rng.random((nodes, nodes), dtype=np.float32)
    angles = tuple(float(angle) for angle in rng.uniform(0, np.pi / 2, 3))
    return Land(**smooth, clump=clump, angles=angles, seed=int(rng.integers(2**31)))


def surface_at(land: Land, landscape: Landscape, rows: RowRange, rng: np.random.Generator) -> LandSurface:
    """The surface in a range of rows, shape (row, col); `rng` adds the noise from pixel to pixel."""
    kind, clump = at_rows(land.kind, rows), at_rows(land.clump, rows)
    wood = at_rows(land.wood, rows) + (clump - 0.5) * np.float32(0.04)
    plots, small = _plots(land, rows, at_rows(land.river, rows) > 0.5)
    cover = _open_land(landscape, kind, plots)
    _add_forest(cover, landscape, wood, kind)
    _add_natural_land(cover, landscape, land, rows)
    _add_towns(cover, landscape, land, rows, plots)
    _add_water(cover, landscape, land, rows)
    # gardens and towns have small plots, fields large ones
    in_small = _SMALL_PLOTS[cover]
    plots = Parcels(np.where(in_small, small.number, plots.number), np.where(in_small, small.margin, plots.margin))
    return _materials(cover, plots, kind, clump, rng.standard_normal(cover.shape, np.float32))


def _plots(land: Land, rows: RowRange, elsewhere: npt.NDArray[np.bool_]) -> tuple[Parcels, Parcels]:
    """Large plots, which have another direction where `elsewhere` is true, and small ones."""
    here = parcels_at(rows, (33.0, 15.0), land.angles[0], land.seed)
    there = parcels_at(rows, (22.0, 25.0), land.angles[1], land.seed + 1)
    number = np.where(elsewhere, there.number, here.number)
    large = Parcels(number, np.where(elsewhere, there.margin, here.margin))
    return large, parcels_at(rows, (9.0, 6.0), land.angles[2], land.seed + 2)


def _open_land(landscape: Landscape, kind: F32, plots: Parcels) -> U8:
    """Open land everywhere; where two kinds meet, each plot is of one of them."""
    # the plot's random number decides near a bound, so that a bound does not cut through plots
    near = kind + (plots.share(3) - np.float32(0.5)) * np.float32(0.12)
    bounds = np.cumsum([landscape.arable, landscape.complex, landscape.mosaic])
    order = np.array([ARABLE, COMPLEX, MOSAIC, PASTURE], np.uint8)
    out: U8 = order[np.searchsorted(bounds.astype(np.float32), near)]
    return out


def _add_forest(cover: U8, landscape: Landscape, wood: F32, kind: F32) -> None:
    edge = 1 - landscape.forest  # the fields are uniform in [0, 1], so a threshold is a share of land
    cover[wood > edge - 0.08] = SHRUB
    forest = wood > edge
    stand = np.where(kind < landscape.conifer, CONIFER, np.where(kind < landscape.conifer + 0.25, MIXED, BROADLEAF))
    np.copyto(cover, stand.astype(np.uint8), where=forest)


def _add_natural_land(cover: U8, landscape: Landscape, land: Land, rows: RowRange) -> None:
    wet, relief, scar = at_rows(land.wet, rows), at_rows(land.relief, rows), at_rows(land.scar, rows)
    cover[wet > 1 - landscape.wet] = HEATH
    cover[wet > 1 - 0.6 * landscape.wet] = PEAT
    cover[(scar > 1 - landscape.burnt) & (cover >= BROADLEAF) & (cover <= HEATH)] = BURNT
    cover[(scar < 0.012) & (cover <= SHRUB)] = QUARRY
    cover[relief > 1 - landscape.alpine] = GRASSLAND
    cover[relief > 1 - 0.35 * landscape.alpine] = ROCK


def _add_towns(cover: U8, landscape: Landscape, land: Land, rows: RowRange, plots: Parcels) -> None:
    town = at_rows(land.town, rows)
    dry = cover < GRASSLAND  # no towns in the mountains, on burnt land or in water
    cover[(town > 1 - landscape.town) & dry] = SUBURB
    cover[(town > 1 - 0.2 * landscape.town) & dry] = CITY
    fringe = (town > 1 - 1.3 * landscape.town) & (town < 1 - 0.55 * landscape.town)
    cover[fringe & dry & ((plots.number & np.uint32(7)) < 3)] = INDUSTRY  # three plots of eight


def _add_water(cover: U8, landscape: Landscape, land: Land, rows: RowRange) -> None:
    relief, river = at_rows(land.relief, rows), at_rows(land.river, rows)
    cover[(np.abs(river - np.float32(0.5)) < 0.5 * landscape.river) & (relief < 0.75)] = RIVER
    cover[relief < landscape.water] = SEA if landscape.coastal else LAKE


def _materials(cover: U8, plots: Parcels, kind: F32, clump: F32, noise: F32) -> LandSurface:
    """The materials of each pixel, by its cover, its plot or place, its clump and the noise; all shaped (row, col)."""
    wild = _NATURAL[cover]  # land without plots: materials vary from place to place
    wave = np.abs((kind * np.float32(9)) % 2 - 1)
    of_clump = (clump * np.float32(_CHOICES - 0.01)).astype(np.uint8)
    choice = np.where(wild, of_clump, (plots.number & np.uint32(_CHOICES - 1)).astype(np.uint8))
    mixture, brightness, vigour = (np.where(wild, wave, plots.share(byte)) for byte in (2, 3, 1))
    main = _MAIN[cover.astype(np.uint16) * np.uint16(_CHOICES) + choice]
    main[plots.margin & (cover <= MOSAIC)] = material_index("grass")  # fields have grassy edges
    share = _SHARE[cover] + _BY_PLOT[cover] * (mixture - np.float32(0.5))
    share += _BY_CLUMP[cover] * (clump - np.float32(0.5)) + np.float32(0.05) * noise
    np.clip(share, 0, 1, out=share)
    glint = (cover == INDUSTRY) & (noise > _GLINTING)
    main[glint] = GLINT
    share[glint] = 0
    tone = 1 + _TONE[cover] * (brightness - np.float32(0.5)) + _GRAIN[cover] * noise
    return LandSurface(cover, main, _SECOND[cover], share, np.maximum(tone, np.float32(0.3)), vigour)


def _choices(names: tuple[str, ...]) -> list[int]:
    """Indices of the materials, spread over `_CHOICES` entries in proportion."""
    return [material_index(names[k * len(names) // _CHOICES]) for k in range(_CHOICES)]


# One row a cover, so that indexing with a map of covers gives a map of properties without a loop over covers.
_SMALL_PLOTS = np.isin(np.arange(len(COVERS)), (COMPLEX, SUBURB, CITY, MOSAIC))
_NATURAL = np.isin(np.arange(len(COVERS)), (HEATH, PEAT, GRASSLAND, ROCK, BURNT, RIVER, LAKE, SEA))
_MAIN = np.array([_choices(cover.main) for cover in COVERS], np.uint8).ravel()
_SECOND = np.array([material_index(cover.second) for cover in COVERS], np.uint8)
_SHARE, _BY_PLOT, _BY_CLUMP, _TONE, _GRAIN = np.array(
    [(cover.share, cover.by_plot, cover.by_clump, cover.tone, cover.grain) for cover in COVERS], np.float32
).T
