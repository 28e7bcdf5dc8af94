"""Compose the names of Sentinel-2 products, of their files and of the patches cut from them.

Source: ESA, Sentinel-2 Products Specification Document (S2-PDGS-TAS-DI-PSD), naming of the compact SAFE format; for
the form that Sen2Cor 2.4 and 2.5 wrote: the product S2A_MSIL2A_20170823T094031_N0205_R036_T34VFJ_20170823T094252 in
GDAL's test data (`autotest/gdrivers/data/sentinel2/fake_l2a_MSIL2Ap`).
"""

from dataclasses import dataclass
from datetime import datetime

from etl.grid import nominal_origin

__all__ = ["OFFSET", "ProductSpec", "iso", "stamp"]

OFFSET = (-1000,) * 13
"""`BOA_ADD_OFFSET` of every band, by `bandId`, as processing baselines from 04.00 on carry it."""

_STAMP = "%Y%m%dT%H%M%S"


@dataclass(frozen=True, slots=True)
class ProductSpec:
    """The name of a Level-2A product and the form of its files."""

    mission: str
    """S2A, S2B or S2C."""

    sensed: datetime
    """Start of the data take, UTC: the first time in every name."""

    datastrip: datetime
    """Start of the data strip, UTC; some seconds to minutes beside `sensed`."""

    generated: datetime
    """Processing time, UTC."""

    relative_orbit: int
    """1 to 143."""

    absolute_orbit: int
    """Orbit number since launch."""

    tile: str
    """MGRS tile, e.g. 33UUP."""

    baseline: str
    """Processing baseline, e.g. 02.05."""

    offsets: tuple[int, ...] = ()
    """`BOA_ADD_OFFSET` of each band by `bandId` (13 values); empty where the product has none, as before 04.00."""

    quantification: int = 10_000
    """Stored value of reflectance 1, beside the offset."""

    old_form: bool = False
    """Whether names and XML are Sen2Cor 2.4's and 2.5's (`L2A_T33UUP_..._B02_10m.jp2`, `L2A_Product_Info`)."""

    def __post_init__(self) -> None:
        nominal_origin(self.tile)
        if len(self.offsets) not in (0, 13):
            raise ValueError(f"offsets must be none or 13, one a bandId, got {len(self.offsets)}")
        if not 1 <= self.relative_orbit <= 143:
            raise ValueError(f"relative_orbit must be in [1, 143], got {self.relative_orbit}")
        if len(self.baseline) != 5 or self.baseline[2] != "." or not self.baseline.replace(".", "").isdigit():
            raise ValueError(f"baseline must be like 02.05, got {self.baseline!r}")

    def product_name(self, level: str, baseline: str, last: datetime) -> str:
        """Name of a product of the same data take, tile and orbit, with .SAFE; `level` is MSIL1C or MSIL2A."""
        number = baseline.replace(".", "")
        orbit = f"R{self.relative_orbit:03d}"
        return f"{self.mission}_{level}_{stamp(self.sensed)}_N{number}_{orbit}_T{self.tile}_{stamp(last)}.SAFE"

    @property
    def name(self) -> str:
        """Folder name of the product; in the old form the last time is the data strip's."""
        return self.product_name("MSIL2A", self.baseline, self.datastrip if self.old_form else self.generated)

    @property
    def granule(self) -> str:
        """Folder name of the one granule."""
        return f"L2A_T{self.tile}_A{self.absolute_orbit:06d}_{stamp(self.datastrip)}"

    @property
    def prefix(self) -> str:
        """First part of the names of image files."""
        return f"{'L2A_' if self.old_form else ''}T{self.tile}_{stamp(self.sensed)}"

    def image(self, band: str, gsd_m: int) -> str:
        """Path of an image with pixels of `gsd_m` metres, without suffix, as the XML lists it; `band` may be SCL."""
        return f"GRANULE/{self.granule}/IMG_DATA/R{gsd_m}m/{self.prefix}_{band}_{gsd_m}m"

    @property
    def datastrip_folder(self) -> str:
        """Folder name of the data strip."""
        return f"DS_{self.station}_{stamp(self.generated)}_S{stamp(self.datastrip)}"

    @property
    def station(self) -> str:
        """Four letters of the processing centre of the baseline's time."""
        return "SGS_" if self.baseline < "02.1" else "ESRI" if self.baseline < "03" else "S2RP"

    @property
    def datatake(self) -> str:
        """Identifier of the data take in the metadata."""
        return f"G{self.mission}_{stamp(self.sensed)}_{self.absolute_orbit:06d}_N{self.baseline}"

    def item(self, kind: str) -> str:
        """Identifier of a granule (`kind` is TL) or data strip (DS) in the metadata."""
        user = "USER" if self.old_form else "OPER"
        middle = f"A{self.absolute_orbit:06d}_T{self.tile}" if kind == "TL" else f"S{stamp(self.datastrip)}"
        return f"{self.mission}_{user}_MSI_L2A_{kind}_{self.station}_{stamp(self.generated)}_{middle}_N{self.baseline}"

    @property
    def v1_prefix(self) -> str:
        """First part of the names of the tile's patches in BigEarthNet v1, before _<i>_<j>."""
        return f"{self.mission}_MSIL2A_{stamp(self.sensed)}"

    @property
    def v2_prefix(self) -> str:
        """The same in BigEarthNet v2, whose authors processed every product again, as baseline 99.99."""
        return f"{self.v1_prefix}_N9999_R{self.relative_orbit:03d}_T{self.tile}"


def stamp(moment: datetime) -> str:
    """The time in whole seconds as in names, e.g. 20170613T101031."""
    return moment.strftime(_STAMP)


def iso(moment: datetime) -> str:
    """The time in whole seconds as in the metadata, e.g. 2017-06-13T10:10:31.000Z."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
