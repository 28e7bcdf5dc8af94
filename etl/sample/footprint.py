"""Where the corners of a tile lie on the globe, without a projection library.

Source: Snyder 1987, Map Projections: A Working Manual, USGS Professional Paper 1395, equations 8-17 to 8-25.
"""

import math

from etl.grid import TileGrid

__all__ = ["footprint", "geographic"]

_AXIS_M, _FLATTENING, _SCALE = 6_378_137.0, 1 / 298.257223563, 0.9996


def footprint(grid: TileGrid) -> list[float]:
    """Latitude, longitude, latitude, ... in degrees of the tile's corners, clockwise from the upper left and back."""
    side = grid.size_px * 10
    corners = ((0, 0), (side, 0), (side, side), (0, side), (0, 0))
    return [angle for x, y in corners for angle in geographic(grid.epsg, grid.ulx + x, grid.uly - y)]


def geographic(epsg: int, x: float, y: float) -> tuple[float, float]:
    """Latitude and longitude in degrees, good to millimetres, of a point in a UTM zone (EPSG 326zz or 327zz)."""
    e2 = _FLATTENING * (2 - _FLATTENING)
    ep2, e1 = e2 / (1 - e2), _FLATTENING / (2 - _FLATTENING)
    quadrant_m = _SCALE * _AXIS_M * (1 - e2 / 4 - 3 * e2**2 / 64 - 5 * e2**3 / 256)
    phi = mu = (y - (10_000_000 if epsg >= 32700 else 0)) / quadrant_m
    phi += (3 * e1 / 2 - 27 * e1**3 / 32) * math.sin(2 * mu) + (21 * e1**2 / 16 - 55 * e1**4 / 32) * math.sin(4 * mu)
    phi += 151 * e1**3 / 96 * math.sin(6 * mu) + 1097 * e1**4 / 512 * math.sin(8 * mu)
    c, t = ep2 * math.cos(phi) ** 2, math.tan(phi) ** 2
    n = _AXIS_M / math.sqrt(1 - e2 * math.sin(phi) ** 2)
    r = n * (1 - e2) / (1 - e2 * math.sin(phi) ** 2)
    d = (x - 500_000) / (n * _SCALE)
    north = d**2 / 2 - (5 + 3 * t + 10 * c - 4 * c**2 - 9 * ep2) * d**4 / 24
    north += (61 + 90 * t + 298 * c + 45 * t**2 - 252 * ep2 - 3 * c**2) * d**6 / 720
    east = d - (1 + 2 * t + c) * d**3 / 6 + (5 - 2 * c + 28 * t - 3 * c**2 + 8 * ep2 + 24 * t**2) * d**5 / 120
    longitude = epsg % 100 * 6 - 183 + math.degrees(east / math.cos(phi))
    return math.degrees(phi - n * math.tan(phi) / r * north), longitude
