"""Surface reflectances of the materials that the sample's landscape is made of.

The numbers are typical values at the centre wavelength of each band, rounded, not measured. Their shape (green peak,
red edge, water absorption in the short-wave infrared) follows the curves of vegetation, soil, rock, water, snow and
man-made materials in the ECOSTRESS and USGS libraries; their level is that of dense canopies and whole fields seen from
above. They are meant for a test archive only.
Source: Meerdink et al. 2019, Remote Sensing of Environment 230, 111196 (ECOSTRESS spectral library 1.0); Kokaly et
al. 2017, USGS Data Series 1035 (spectral library 7); Warren & Brandt 2008, doi 10.1029/2007JD009744 (snow).
"""

import numpy as np
import numpy.typing as npt

from etl.bands import SUPER_BANDS

__all__ = ["CLOUD", "GLINT", "MATERIALS", "SNOW", "material_index", "reflectance_table"]

MATERIALS: dict[str, tuple[int, ...]] = {
    # of bands   B01   B02   B03   B04   B05   B06   B07   B08   B8A   B09   B11   B12
    "conifer": (150, 170, 310, 200, 500, 1450, 1800, 1950, 2050, 2100, 950, 430),
    "broadleaf": (160, 210, 480, 260, 780, 2500, 3250, 3450, 3600, 3650, 1700, 750),
    "shrub": (190, 250, 500, 350, 820, 1950, 2450, 2600, 2750, 2800, 1800, 900),
    "grass": (230, 340, 740, 480, 1150, 2700, 3200, 3350, 3500, 3550, 2150, 1150),
    "dry_grass": (350, 500, 850, 950, 1350, 2000, 2250, 2400, 2550, 2600, 2900, 1800),
    "green_crop": (200, 290, 660, 340, 980, 3200, 4200, 4450, 4600, 4600, 1850, 850),
    "young_crop": (330, 460, 750, 800, 1150, 2000, 2350, 2500, 2650, 2700, 2300, 1600),
    "ripe_crop": (550, 780, 1200, 1600, 1900, 2250, 2450, 2650, 2850, 2900, 3500, 2350),
    "dark_soil": (430, 560, 780, 980, 1120, 1250, 1370, 1500, 1630, 1700, 2400, 2050),
    "pale_soil": (580, 800, 1200, 1580, 1720, 1820, 1920, 2040, 2150, 2200, 3000, 2750),
    "heath": (210, 260, 420, 420, 720, 1250, 1500, 1650, 1800, 1850, 1900, 1100),
    "wet_moss": (190, 230, 370, 340, 620, 1050, 1230, 1320, 1400, 1350, 1050, 520),
    "burnt": (230, 270, 340, 370, 440, 520, 600, 690, 800, 850, 1650, 1700),
    "clear_water": (240, 240, 270, 160, 130, 90, 80, 70, 60, 50, 25, 15),
    "river_water": (320, 370, 520, 390, 330, 190, 170, 150, 110, 90, 40, 25),
    "sea_water": (330, 290, 260, 130, 100, 70, 60, 50, 40, 40, 20, 15),
    "asphalt": (650, 760, 900, 1020, 1110, 1190, 1260, 1330, 1410, 1450, 1650, 1550),
    "roof_tile": (560, 680, 950, 1450, 1650, 1780, 1880, 1980, 2100, 2150, 2500, 2200),
    "concrete": (1350, 1600, 1850, 2050, 2150, 2220, 2280, 2350, 2420, 2400, 2600, 2400),
    "rock": (820, 950, 1130, 1260, 1350, 1420, 1480, 1540, 1600, 1600, 1900, 1750),
    "gravel": (900, 1150, 1500, 1780, 1900, 1990, 2070, 2150, 2230, 2250, 2800, 2650),
    "snow": (8900, 9100, 9000, 8900, 8800, 8500, 8300, 8100, 7800, 7300, 1100, 800),
    "cloud": (6600, 6400, 6300, 6300, 6400, 6500, 6600, 6700, 6800, 5900, 4700, 3600),
    "glint": (60000,) * 12,
}
"""Reflectance x 10,000 of each material, in the order of `SUPER_BANDS`; `glint` is a mirror in the sun."""

_NAMES = tuple(MATERIALS)


def material_index(name: str) -> int:
    """Row of the material in `reflectance_table`, whose shape is (material, band).

    Raises:
        ValueError: there is no such material.
    """
    if name not in MATERIALS:
        raise ValueError(f"material must be one of {', '.join(MATERIALS)}, got {name!r}")
    return _NAMES.index(name)


def reflectance_table() -> npt.NDArray[np.float32]:
    """Reflectance x 10,000, shape (material, band 12), float32."""
    values = np.array(list(MATERIALS.values()), np.float32)
    if values.shape[1] != len(SUPER_BANDS):
        raise ValueError(f"every material must have {len(SUPER_BANDS)} bands, got {values.shape[1]}")
    return values


SNOW, CLOUD, GLINT = material_index("snow"), material_index("cloud"), material_index("glint")
