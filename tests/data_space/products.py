"""Sentinel-2 products as the servers of this package offer them: names, times, footprints and files."""

import uuid
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from osgeo import osr

__all__ = ["Bounds", "Footprint", "ServedProduct", "meets", "ring_bounds", "served_products"]

Bounds = tuple[float, float, float, float]
"""West, south, east and north, in degrees."""
Footprint = tuple[tuple[float, float], ...]
"""Closed ring of (longitude, latitude) in degrees."""

_BELOW_SECOND = timedelta(milliseconds=24)
"""The service knows the time of an acquisition to the millisecond, the product's name gives whole seconds."""


@dataclass(frozen=True, slots=True)
class ServedProduct:
    """A product, as far as the servers know it."""

    name: str
    """As `S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_20170613T101608`, without `.SAFE`."""
    files: Mapping[str, Path | bytes]
    """File or its bytes by its path relative to the product's folder."""
    uuid: str
    acquired: datetime
    footprint: Footprint
    cloud_cover: float
    """Percent."""
    online: bool = True
    deleted: str = ""
    """Cause of its deletion; empty for a product that still exists."""

    @property
    def folder(self) -> str:
        """Name of the product's folder."""
        return f"{self.name}.SAFE"

    @property
    def product_type(self) -> str:
        """`S2MSI2A` or `S2MSI1C`."""
        return f"S2MSI{self.name.split('_')[1][-2:]}"

    @property
    def baseline(self) -> str:
        """Processing baseline, as `05.10`."""
        return f"{self.name.split('_')[3][1:3]}.{self.name.split('_')[3][3:]}"

    @property
    def orbit(self) -> int:
        """Relative orbit."""
        return int(self.name.split("_")[4][1:])

    @property
    def tile(self) -> str:
        """Tile of the military grid, as `33UUP`."""
        return self.name.split("_")[5][1:]

    @property
    def processed(self) -> datetime:
        """The last time in the name."""
        return _time(self.name.split("_")[6])

    @property
    def s3_path(self) -> str:
        """Path in the object store, as the catalogue gives it."""
        level = self.name.split("_")[1][-3:]
        return f"/eodata/Sentinel-2/MSI/{level}/{self.acquired:%Y/%m/%d}/{self.folder}"

    def size(self, path: str) -> int:
        """Bytes of a file."""
        file = self.files[path]
        return len(file) if isinstance(file, bytes) else file.stat().st_size

    def read(self, path: str) -> bytes:
        """Content of a file."""
        file = self.files[path]
        return file if isinstance(file, bytes) else file.read_bytes()


def served_products(tiles: Path) -> list[ServedProduct]:
    """The products whose `*.SAFE` folders lie anywhere below a folder, in the order of their names."""
    folders = sorted((path for path in tiles.rglob("*.SAFE") if path.is_dir()), key=lambda path: path.name)
    return [_served_product(folder) for folder in folders]


def ring_bounds(ring: Footprint) -> Bounds:
    """Bounding box of a ring."""
    longitudes, latitudes = zip(*ring, strict=True)
    return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


def meets(one: Bounds, other: Bounds) -> bool:
    """Whether two bounding boxes overlap or touch."""
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _served_product(folder: Path) -> ServedProduct:
    name = folder.name.removesuffix(".SAFE")
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    clouds = ElementTree.parse(folder / f"MTD_{name.split('_')[1]}.xml").findtext(".//Cloud_Coverage_Assessment")
    return ServedProduct(
        name,
        {path.relative_to(folder).as_posix(): path for path in paths},
        str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
        _time(name.split("_")[2]) + _BELOW_SECOND,
        _footprint(next(folder.glob("GRANULE/*/MTD_TL.xml"))),
        float(clouds or 0),
    )


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def _footprint(metadata: Path) -> Footprint:
    """The tile's outline by the metadata of its granule, counterclockwise from the upper left corner."""
    tree = ElementTree.parse(metadata)

    def number(path: str) -> int:
        return int(tree.findtext(path) or 0)

    left, top = number(".//Geoposition[@resolution='10']/ULX"), number(".//Geoposition[@resolution='10']/ULY")
    right = left + 10 * number(".//Size[@resolution='10']/NCOLS")
    bottom = top - 10 * number(".//Size[@resolution='10']/NROWS")
    tile, degrees = osr.SpatialReference(), osr.SpatialReference()
    tile.ImportFromEPSG(int((tree.findtext(".//HORIZONTAL_CS_CODE") or "").removeprefix("EPSG:")))
    degrees.ImportFromEPSG(4326)
    degrees.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    corners = [(left, top), (left, bottom), (right, bottom), (right, top), (left, top)]
    points = osr.CoordinateTransformation(tile, degrees).TransformPoints(corners)
    return tuple((round(longitude, 6), round(latitude, 6)) for longitude, latitude, _ in points)
