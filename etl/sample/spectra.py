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
from etl.tables import read_table

__all__ = ["CLOUD", "GLINT", "MATERIALS", "SNOW", "material_index", "reflectance_table"]

MATERIALS = {
    row["material"]: tuple(int(row[band]) for band in SUPER_BANDS) for row in read_table(__file__, "materials.csv")
}
"""Reflectance x 10,000 of each material, in the order of `SUPER_BANDS`; `glint` is a mirror in the sun."""


def material_index(name: str) -> int:
    """Row of the material in `reflectance_table`, whose shape is (material, band).

    Raises:
        ValueError: there is no such material.
    """
    if name not in MATERIALS:
        raise ValueError(f"material must be one of {', '.join(MATERIALS)}, got {name!r}")
    return list(MATERIALS).index(name)


def reflectance_table() -> npt.NDArray[np.float32]:
    """Reflectance x 10,000, shape (material, band 12), float32."""
    return np.array(list(MATERIALS.values()), np.float32)


SNOW, CLOUD, GLINT = material_index("snow"), material_index("cloud"), material_index("glint")
