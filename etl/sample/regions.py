"""The sample's tiles: their place, their landscape and their product.

Tiles, orbits and sensing times are of products that BigEarthNet was cut from; their content is invented.
"""

from dataclasses import dataclass
from datetime import datetime

from etl.sample.product import OFFSET, ProductSpec

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


_ALPINE = Landscape(0.04, 0.03, 0.11, 0.36, 0.45, 0.04, 0.08, 0.02, 0.45, 0.15, 0.20, snow=0.04)
_BOREAL = Landscape(0.14, 0.01, 0.05, 0.58, 0.60, 0.22, 0.03, 0.05, 0.45, 0.10, 0.25, snow=0.08)
_ATLANTIC = Landscape(0.10, 0.03, 0.08, 0.16, 0.60, 0.24, 0.06, 0.02, 0.20, 0.12, 0.18, 0.0, True, True)
_SOUTHERN = Landscape(0.08, 0.03, 0.10, 0.34, 0.30, 0.12, 0.08, 0.10, 0.40, 0.25, 0.20, snow=0.04, coastal=True)


def _region(country: str, landscape: Landscape, sentinel_1: str, product: str) -> Region:
    """`product`: mission, sensed, data strip, generated, relative orbit, absolute orbit, tile, baseline."""
    mission, *times, relative, absolute, tile, baseline = product.split()
    sensed, strip, generated = (datetime.strptime(time, "%Y%m%dT%H%M%S") for time in times)
    offsets = OFFSET if baseline >= "04" else ()
    old_form = baseline == "02.05"
    spec = ProductSpec(
        mission, sensed, strip, generated, int(relative), int(absolute), tile, baseline, offsets, old_form=old_form
    )
    return Region(country, spec, spec.product_name("MSIL1C", "02.05", strip), sentinel_1, landscape)


REGIONS = (
    _region(
        "Austria", _ALPINE, "S1B_IW_GRDH_1SDV_20170612T165809",
        "S2A 20170613T101031 20170613T101608 20170613T134110 22 10315 33UUP 02.05",
    ),
    _region(
        "Finland", _BOREAL, "S1A_IW_GRDH_1SDV_20170904T161304",
        "S2B 20170906T101019 20170906T101046 20201014T083215 22 2622 34VDN 02.12",
    ),
    _region(
        "Ireland", _ATLANTIC, "S1A_IW_GRDH_1SDV_20170617T064724",
        "S2A 20170617T113321 20170617T113319 20231006T182742 80 10373 29UPU 05.10",
    ),
    _region(
        "Portugal", _SOUTHERN, "S1B_IW_GRDH_1SDV_20170701T182622",
        "S2A 20170704T112111 20170704T112431 20240721T031508 37 10616 29SND 05.11",
    ),
    _region(
        "Belgium", _ALPINE, "S1A_IW_GRDH_1SDV_20170829T055029",
        "S2B 20170829T105019 20170829T105633 20170829T140205 51 2508 31UER 02.05",
    ),
    _region(
        "Switzerland", _ALPINE, "S1B_IW_GRDH_1SDV_20170818T054218",
        "S2A 20170818T103021 20170818T103421 20201002T115236 108 11259 32TMT 02.12",
    ),
    _region(
        "Ireland", _ATLANTIC, "S1B_IW_GRDH_1SDV_20170717T064630",
        "S2A 20170717T113321 20170717T113326 20230917T224401 80 10802 29UPV 05.10",
    ),
    _region(
        "Finland", _BOREAL, "S1B_IW_GRDH_1SDV_20171016T045729",
        "S2B 20171016T101009 20171016T101010 20240630T192114 22 3194 34VDM 05.11",
    ),
)  # fmt: skip
"""The sample's tiles in order; the first is in the form of BigEarthNet's own era."""
