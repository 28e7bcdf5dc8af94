"""Metadata of a Level-2A product in EOPF's Zarr format, 2 or 3: attributes of its groups and arrays.

The consolidated metadata are read if there are any, as Zarr does, else those beside each group and array. They give
name, baseline, place, and how pixel values become reflectances.

Source: ESA, Earth Observation Processing Framework, product format of Sentinel-2 Level-2A; STAC extensions `projection`
and `eopf`; Zarr specification, formats 2 and 3.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from etl.bands import GROUPS
from etl.grid import TileGrid
from etl.input_files import shortened
from etl.metadata_numbers import number_in, tile_grid_of
from etl.product_files import ProductError, ProductFiles

__all__ = [
    "SCENE_CLASSIFICATION",
    "ArrayDocument",
    "array_name",
    "baseline_of",
    "grid_of",
    "product_uri_of",
    "read_array",
]

SCENE_CLASSIFICATION = "conditions/mask/l2a_classification/r20m/scl"
"""The array of the scene classification."""

_GROUP_OF = {band: group.gsd_m for group in GROUPS for band in group.bands}


class ArrayDocument:
    """Metadata of one array, as Zarr reads them."""

    def __init__(self, product: Path, name: str, files: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        self._where = f"{product}: {name}"
        self.name = name
        """Path within the product."""
        self.files = files
        """Content of the metadata files of the array by their names: `.zarray`, or `zarr.json`."""
        self.attributes = attributes
        """Attributes of the array."""

    @property
    def transform(self) -> tuple[float, ...] | None:
        """Affine transform from (column, row) to metres in GDAL's order; None if `proj:transform` is absent.

        Raises:
            ProductError: it holds no six finite numbers.
        """
        given = self.attributes.get("proj:transform")
        if given is None:
            return None
        if not isinstance(given, Sequence) or len(given) not in (6, 9):
            raise ProductError(
                f"{self._where}, proj:transform must hold 6 or 9 numbers, got {shortened(repr(given), 80)}"
            )
        limits = (-1e8, 1e8)
        a, b, c, d, e, f = (number_in(float, str(x), f"{self._where}, proj:transform", limits) for x in given[:6])
        return (c, a, b, f, d, e)

    @property
    def projection(self) -> str:
        """The projection as EPSG:<code>; empty if the array names none."""
        return _epsg(self.attributes)


def array_name(band: str) -> str:
    """Path within a product of the array of a band at its own ground sample distance, or of SCL."""
    return SCENE_CLASSIFICATION if band == "SCL" else f"measurements/reflectance/r{_GROUP_OF[band]}m/{band.lower()}"


def _epsg(attributes: Mapping[str, Any]) -> str:
    code = attributes.get("proj:code", attributes.get("proj:epsg"))
    return "" if code is None else shortened(str(code) if str(code).startswith("EPSG:") else f"EPSG:{code}", 40)


def _group(files: ProductFiles) -> Mapping[str, Any]:
    """Attributes of the product's own group.

    Raises:
        ProductError: they are missing, or no JSON.
    """
    if "zarr.json" in files.names:
        return _mapping(files.read_json("zarr.json").get("attributes"))
    if ".zmetadata" in files.names:
        return _mapping(_consolidated(files).get(".zattrs"))
    return files.read_json(".zattrs")


def read_array(files: ProductFiles, name: str) -> ArrayDocument | None:
    """Metadata of the array `name`; None if there is no such array.

    Raises:
        ProductError: they are no JSON.
    """
    if "zarr.json" in files.names:
        held = _mapping(_mapping(files.read_json("zarr.json").get("consolidated_metadata")).get("metadata"))
        document = held.get(name)
        if document is None and f"{name}/zarr.json" in files.names:
            document = files.read_json(f"{name}/zarr.json")
        return (
            None
            if document is None
            else ArrayDocument(files.path, name, {"zarr.json": document}, _attributes(document))
        )
    if ".zmetadata" in files.names:
        held = _consolidated(files)
        array, attributes = held.get(f"{name}/.zarray"), held.get(f"{name}/.zattrs")
    else:
        array, attributes = (
            files.read_json(f"{name}/{file}") if f"{name}/{file}" in files.names else None
            for file in (".zarray", ".zattrs")
        )
    return None if array is None else ArrayDocument(files.path, name, {".zarray": array}, _mapping(attributes))


def _consolidated(files: ProductFiles) -> Mapping[str, Any]:
    return _mapping(files.read_json(".zmetadata").get("metadata"))


def _attributes(document: Any) -> Mapping[str, Any]:
    return _mapping(_mapping(document).get("attributes"))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _discovery(files: ProductFiles) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The STAC item among the attributes of the product's own group, and the item's properties."""
    item = _mapping(_group(files).get("stac_discovery"))
    return item, _mapping(item.get("properties"))


def product_uri_of(files: ProductFiles) -> str:
    """Name of the product by its own attributes, mostly with .SAFE.

    Raises:
        ProductError: they are missing, or do not give the name.
    """
    name = _discovery(files)[0].get("id")
    if not isinstance(name, str) or not name:
        raise ProductError(f"{files.path}: its attributes must hold stac_discovery/id, the name of the product")
    return shortened(name)


def baseline_of(files: ProductFiles) -> str:
    """Processing baseline of the product, e.g. 05.11.

    Raises:
        ProductError: its attributes do not give it.
    """
    properties = _discovery(files)[1]
    given = properties.get("eopf:baseline") or properties.get("processing:version") or ""
    if not re.fullmatch(r"[0-9]{1,2}\.[0-9]{1,2}", str(given)):
        raise ProductError(
            f"{files.path}: its attributes must give the processing baseline, such as 05.11, as eopf:baseline or "
            f"processing:version of stac_discovery/properties, got {shortened(repr(given), 40)}"
        )
    return str(given)


def grid_of(files: ProductFiles) -> TileGrid:
    """Georeference of the product's tile at 10 m, from the array of B02: EPSG code, corner in metres, side in pixels.

    Raises:
        ProductError: the array is missing, or lacks one of these.
    """
    name = array_name("B02")
    document, where = read_array(files, name), f"{files.path}: {name}"
    if document is None:
        raise ProductError(f"{where} is missing{files.hint}")
    shape = _mapping(next(iter(document.files.values()))).get("shape")
    transform, epsg = document.transform, document.projection.removeprefix("EPSG:")
    if not isinstance(shape, Sequence) or len(shape) != 2 or transform is None or not epsg:
        raise ProductError(f"{where} must have two axes, and the attributes proj:transform and proj:epsg")
    return tile_grid_of(where, epsg, (str(shape[0]), str(shape[1])), (repr(transform[0]), repr(transform[3])))
