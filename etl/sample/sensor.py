"""Simulate what the sensor measures over the land: light, haze, snow, cloud, mixed pixels, noise, saturation, nodata.

Reflectances are computed at 10 m, blurred as by the optics (so that pixels at borders are mixed), and averaged by pixel
area to each band's own resolution.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.bands import BANDS, SATURATED, SUPER_BANDS
from etl.sample import spectra
from etl.sample.fields import RowRange, at_rows, blobs
from etl.sample.landcover import LandSurface
from etl.sample.regions import Landscape

__all__ = ["Atmosphere", "Observation", "classify_scene", "digitise", "draw_atmosphere", "observe", "outside_swath"]

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]

SATURATION = 18_000
"""Reflectance x 10,000 from which on the sensor is saturated."""

_NIR = tuple(SUPER_BANDS.index(name) for name in ("B06", "B07", "B08", "B8A", "B09"))
_SWIR = tuple(SUPER_BANDS.index(name) for name in ("B11", "B12"))
_RED, _NARROW_NIR, _FIRST_SWIR = (SUPER_BANDS.index(name) for name in ("B04", "B8A", "B11"))


@dataclass(frozen=True, slots=True, eq=False)
class Atmosphere:
    """Light and weather over one tile, different for each tile."""

    materials: F32
    """Reflectance x 10,000 of the materials on this tile, shape (material, band 12)."""

    gain: F32
    """Calibration and illumination, shape (band 12)."""

    haze: F32
    """Reflectance x 10,000 that atmospheric correction has not removed, shape (band 12)."""

    light: F32
    """Brightness by the slope of the land, shape (node, node)."""

    snow: F32
    """Opacity, 0 to 1, shape (node, node)."""

    cloud: F32
    """Opacity, 0 to 1, shape (node, node)."""

    shadow: F32
    """Of the clouds, 0 to 1, shape (node, node)."""

    swath_edge: bool
    """Whether the swath ends inside the tile."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """Reflectances of a range of rows, before noise."""

    bands: tuple[F32, ...]
    """The twelve bands, reflectance x 10,000, each at its own resolution, shape (row, col)."""

    red_20m: F32
    """B04 at 20 m."""

    overlays: tuple[F32, F32, F32] | None
    """Opacity of snow, shadow and cloud at 20 m, 0 to 1; None if there are none."""


def draw_atmosphere(rng: np.random.Generator, landscape: Landscape, relief: F32, cells: int) -> Atmosphere:
    """Light and weather over land of this relief, shape (node, node), with `cells` x `cells` patches."""
    bands = len(SUPER_BANDS)
    variation = rng.normal(1, 0.03, (len(spectra.MATERIALS), bands)) * rng.normal(1, 0.04, (len(spectra.MATERIALS), 1))
    centres = np.array([band.centre_nm for band in BANDS])
    # scattering falls with wavelength
    haze = rng.uniform(-20, 90) * (centres[0] / centres) ** 3
    slope = np.gradient(relief, axis=0) + np.gradient(relief, axis=1)
    snow = blobs(rng, relief, round(cells**2 * landscape.snow / 9), 1300.0)
    cloud = blobs(rng, np.zeros_like(relief), max(1, round(cells**2 * 0.02 / 4)), 420.0)
    return Atmosphere(
        materials=(spectra.reflectance_table() * variation).astype(np.float32),
        gain=rng.normal(1, 0.02, bands).astype(np.float32),
        haze=haze.astype(np.float32),
        light=(1 + np.clip(6 * slope, -0.15, 0.15)).astype(np.float32),
        snow=snow,
        cloud=cloud,
        # shadows lie beside their clouds, away from a morning sun in the south-east
        shadow=np.roll(cloud, (-15, -11), (0, 1)),
        swath_edge=landscape.swath_edge,
    )


def observe(atmosphere: Atmosphere, surface: LandSurface, rows: RowRange) -> Observation:
    """Reflectances of a range of rows, shape (row, col) a band; `surface` has one row more on either side."""
    wide = RowRange(rows.first - 1, rows.stop + 1, rows.width)
    overlays = [at_rows(field, wide) for field in (atmosphere.snow, atmosphere.shadow, atmosphere.cloud)]
    clear = not any(overlay.any() for overlay in overlays)
    tone = surface.tone * at_rows(atmosphere.light, wide)
    # vigorous plants reflect more in the near infrared and, being moist, less in the short-wave infrared
    lights = {_NIR: tone * (np.float32(0.85) + np.float32(0.3) * surface.vigour)}
    lights[_SWIR] = tone * (np.float32(1.15) - np.float32(0.3) * surface.vigour)
    bands, red_20m = [], np.empty(0, np.float32)
    for k, band in enumerate(BANDS):
        light = next((plane for members, plane in lights.items() if k in members), tone)
        values = atmosphere.materials[:, k]
        fine = values[surface.main]
        fine += (values[surface.second] - fine) * surface.share
        fine *= light
        if not clear:
            _overlay(fine, overlays, values)
        fine = _blur(fine)
        fine *= atmosphere.gain[k]
        fine += atmosphere.haze[k]
        bands.append(average_blocks(fine, band.gsd_m // 10))
        if k == _RED:
            red_20m = average_blocks(fine, 2)
    snow, shadow, cloud = (average_blocks(overlay[1:-1], 2) for overlay in overlays)
    return Observation(tuple(bands), red_20m, None if clear else (snow, shadow, cloud))


def _overlay(band: F32, overlays: list[F32], values: F32) -> None:
    """Snow on the surface, then shadow on both, then cloud over all."""
    snow, shadow, cloud = overlays
    band += (values[spectra.SNOW] - band) * snow
    band *= 1 - np.float32(0.6) * shadow
    band += (values[spectra.CLOUD] - band) * cloud


def _blur(band: F32) -> F32:
    """Weights (1, 2, 1) / 4 along both axes; one row fewer on either side, columns repeat at the border."""
    down = band[:-2] + band[2:]
    down += 2 * band[1:-1]
    out = 2 * down
    out[:, 1:] += down[:, :-1]
    out[:, :-1] += down[:, 1:]
    out[:, 0] += down[:, 0]
    out[:, -1] += down[:, -1]
    out *= np.float32(1 / 16)
    return out


def average_blocks(band: F32, factor: int) -> F32:
    """Mean of blocks of `factor` x `factor` pixels, shape (row / factor, col / factor)."""
    if factor == 1:
        return band
    rows, cols = band.shape
    down = band.reshape(rows // factor, factor, cols).sum(axis=1)
    out: F32 = down.reshape(-1, cols // factor, factor).sum(axis=2) * np.float32(1 / factor**2)
    return out


def digitise(band: F32, rng: np.random.Generator, out: U16) -> None:
    """Add noise and round into `out`, shape (row, col), uint16: valid pixels in [1, 65534], saturated ones 65535."""
    noise = rng.standard_normal(band.shape, np.float32)
    # a constant part for the electronics, one in proportion to the signal for the photons
    noise *= np.float32(10) + np.float32(0.006) * band
    noise += band
    saturated = band >= SATURATION
    np.rint(noise, out=noise)
    np.clip(noise, 1, SATURATED - 1, out=noise)
    out[...] = noise
    out[saturated] = SATURATED


def outside_swath(atmosphere: Atmosphere, rows: RowRange, factor: int) -> Mask:
    """Whether pixels of the group with `factor` lie beyond the swath's edge, shape (row, col), bool.

    The edge leans like that of a descending orbit; a pixel is outside if its centre is.
    """
    y = (np.arange(rows.first // factor, rows.stop // factor) + 0.5) * factor
    x = (np.arange(rows.width // factor) + 0.5) * factor
    return np.asarray((x[None, :] < 0.042 * rows.width - 0.11 * y[:, None]) & atmosphere.swath_edge)


def classify_scene(observed: Observation) -> U8:
    """Scene classification, shape (row, col) at 20 m, uint8, by thresholds on the reflectances.

    Source: classes of ESA's Sen2Cor, Level-2A Algorithm Theoretical Basis Document, S2-PDGS-MPC-ATBD-L2A.
    """
    nir, swir = observed.bands[_NARROW_NIR], observed.bands[_FIRST_SWIR]
    plants = (nir - observed.red_20m) > np.float32(0.4) * (nir + observed.red_20m)
    out = np.where(plants, np.uint8(4), np.uint8(5))
    out[(nir < 850) & ~plants] = 2
    out[(nir < 600) & (swir < 500)] = 6
    if observed.overlays is not None:
        snow, shadow, cloud = observed.overlays
        out[snow > 0.3] = 11
        out[shadow > 0.25] = 3
        # thin cirrus, cloud of medium and of high probability: the later ones replace the earlier
        for opacity, value in ((0.03, 10), (0.2, 8), (0.6, 9)):
            out[cloud > opacity] = value
    for k, band in enumerate(BANDS):
        if band.gsd_m == 20:
            out[observed.bands[k] >= SATURATION] = 1
    return out
