"""The sample's tiles: their place, their landscape and their product.

Tiles, orbits and sensing times are of products that BigEarthNet was cut from; their content is invented.
"""

from dataclasses import dataclass
from datetime import datetime

from etl.sample.product import OFFSET, ProductSpec
from etl.tables import read_table

__all__ = ["REGIONS", "Landscape", "Region"]


@dataclass(frozen=True, slots=True)
class Landscape:
    """Shares of land; each applies to the land that the covers drawn later in `etl.sample.landcover` leave."""

    water: float
    """Lakes, or sea."""

    river: float
    """Rivers."""

    town: float
    """Towns with their cores."""

    forest: float
    """Forests."""

    conifer: float
    """Share of conifers in forests; a quarter of forest is mixed, the rest broad-leaved."""

    wet: float
    """Heath and peatbogs."""

    alpine: float
    """Natural grassland, with bare rock at its top."""

    burnt: float
    """Scars of fires, among forest, shrub and heath."""

    arable: float
    """Share of fields in open land; the rest after these three is pasture."""

    complex: float
    """Share of small mixed plots in open land."""

    mosaic: float
    """Share of fields among woods and hedges in open land."""

    snow: float
    """Approximate share of patches with snow."""

    coastal: bool = False
    """Whether `water` is the sea."""

    swath_edge: bool = False
    """Whether the sensor's swath ends inside the tile, so that its left border has no data."""


@dataclass(frozen=True, slots=True)
class Region:
    """One tile of the sample."""

    country: str
    """As in the table of BigEarthNet v2."""

    product: ProductSpec
    """The Level-2A product that holds the tile."""

    level_1c: str
    """Name of the Level-1C product that the patches are listed under, with .SAFE."""

    sentinel_1: str
    """First part of the name of the Sentinel-1 product beside it, for the table of BigEarthNet v2."""

    landscape: Landscape
    """Shares of land cover to draw."""


_LANDSCAPES = {
    "alpine": Landscape(0.04, 0.03, 0.11, 0.36, 0.45, 0.04, 0.08, 0.02, 0.45, 0.15, 0.20, snow=0.04),
    "boreal": Landscape(0.14, 0.01, 0.05, 0.58, 0.60, 0.22, 0.03, 0.05, 0.45, 0.10, 0.25, snow=0.08),
    "atlantic": Landscape(0.10, 0.03, 0.08, 0.16, 0.60, 0.24, 0.06, 0.02, 0.20, 0.12, 0.18, 0.0, True, True),
    "southern": Landscape(0.08, 0.03, 0.10, 0.34, 0.30, 0.12, 0.08, 0.10, 0.40, 0.25, 0.20, snow=0.04, coastal=True),
}


def _region(row: dict[str, str]) -> Region:
    times = (datetime.strptime(row[name], "%Y%m%dT%H%M%S") for name in ("sensed", "datastrip", "generated"))
    sensed, strip, generated = times
    orbits, baseline = (int(row["relative_orbit"]), int(row["absolute_orbit"])), row["baseline"]
    offsets, old = OFFSET if baseline >= "04" else (), baseline == "02.05"
    spec = ProductSpec(row["mission"], sensed, strip, generated, *orbits, row["tile"], baseline, offsets, old_form=old)
    level_1c = spec.product_name("MSIL1C", "02.05", strip)
    return Region(row["country"], spec, level_1c, row["sentinel_1"], _LANDSCAPES[row["landscape"]])


REGIONS = tuple(map(_region, read_table(__file__, "regions.csv")))
"""The sample's tiles in order; the first is in the form of BigEarthNet's own era."""
