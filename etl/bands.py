"""The Sentinel-2 band table, and the groups of bands of one ground sample distance that the store keeps together.

Centre wavelengths are those of Sentinel-2A's MSI; band numbers are the `bandId` of the product metadata.
B10 (cirrus) carries no surface signal and is absent from Level-2A products.

Source: ESA, Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD, table "Spectral_Information",
copied to `bands.csv`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from etl.tables import read_table

__all__ = ["BANDS", "BAND_BY_NAME", "GROUPS", "SUPER_BANDS", "Band", "Group", "band_indices"]

PATCH_M = 1200
"""Side of a patch of BigEarthNet in metres."""

NODATA = 0
"""Pixel value that stands for "not observed"."""

SATURATED = 65535
"""Pixel value that stands for "beyond the sensor's range"."""


@dataclass(frozen=True, slots=True)
class Band:
    """One spectral band of the MultiSpectral Instrument."""

    name: str
    """Name as in file names, e.g. B8A."""

    band_id: int
    """`bandId` / `band_id` in the product metadata, 0 to 12."""

    centre_nm: float
    """Centre wavelength in nm."""

    gsd_m: int
    """Ground sample distance in m: 10, 20 or 60."""


BANDS = tuple(
    Band(row["name"], int(row["band_id"]), float(row["centre_nm"]), int(row["gsd_m"]))
    for row in read_table(__file__, "bands.csv")
)
"""The twelve bands of a Level-2A product, in the order of wavelength that `data_super` has."""

BAND_BY_NAME = {band.name: band for band in BANDS}


@dataclass(frozen=True, slots=True)
class Group:
    """The bands of one ground sample distance, stored together."""

    name: str
    """Suffix of the group's data set: 10m, 20m or 60m."""

    gsd_m: int
    """Ground sample distance in m."""

    bands: tuple[str, ...]
    """Band names in the order of the last axis."""

    super_index: tuple[int, ...]
    """Index of each of `bands` on the last axis of `data_super`."""

    @property
    def factor(self) -> int:
        """10 m pixels along one side of a pixel of this group: 1, 2 or 6."""
        return self.gsd_m // 10

    @property
    def patch_px(self) -> int:
        """Side of a patch in pixels of this group: 120, 60 or 20."""
        return PATCH_M // self.gsd_m


SUPER_BANDS = tuple(band.name for band in BANDS)
"""Names of all twelve bands, in the order of the last axis of `data_super`."""


def _group(gsd_m: int) -> Group:
    # in the order of wavelength, as in BANDS: B8A comes after B07
    bands = tuple(band.name for band in BANDS if band.gsd_m == gsd_m)
    return Group(f"{gsd_m}m", gsd_m, bands, tuple(SUPER_BANDS.index(name) for name in bands))


GROUPS = (_group(10), _group(20), _group(60))
"""The three native groups, finest first: `data_10m`, `data_20m`, `data_60m`."""


def band_indices(bands: Sequence[str], names: Sequence[str]) -> list[int]:
    """Index among `bands`, such as those of an array's last axis, of each of `names`."""
    return [bands.index(name) for name in names]
