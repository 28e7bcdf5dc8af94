"""A product without any list: every 1200 m cell of its grid, unlabelled, so that a fresh tile can be extracted.

The grid is read from the product's own `GRANULE/*/MTD_TL.xml`, in its folder or in a `.zip` left zipped.
"""

import logging
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa

from etl.bands import PATCH_M
from etl.catalogue.names import PatchName, newest, parse_product
from etl.catalogue.place import Rejections
from etl.catalogue.table import table_of
from etl.grid import TileGrid, nominal_origin

__all__ = ["list_cells", "read_grid"]

T = TypeVar("T")

_log = logging.getLogger(__name__)

_INSIDE_ZIP = re.compile(r"(?:.*/)?GRANULE/[^/]+/MTD_TL\.xml")


def list_cells(products: Sequence[Path]) -> tuple[pa.Table, Rejections]:
    """Rows for all whole cells of these products, and (product, reason) of those whose grid cannot be read.

    Of several products of one scene only the newest gives rows.
    """
    tables, rejected, good = [table_of(patch=[])], Rejections(), dict[str, Path]()
    for path in products:
        try:
            parse_product(path.name)
            good[path.name] = path
        except ValueError as error:
            rejected.append((path.name, str(error)))
    for name, winner in newest(list(good)).items():
        if winner != name:
            _log.info("%s is passed over: %s shows the same scene and is newer", name, winner)
            continue
        try:
            tables.append(_cells(name.removesuffix(".zip").removesuffix(".SAFE"), _tile_metadata(good[name])))
        except ValueError as error:
            rejected.append((name, str(error)))
    return pa.concat_tables(tables), rejected


def read_grid(tile_metadata: bytes) -> TileGrid:
    """Georeference of a tile, from the content of its `MTD_TL.xml`.

    Raises:
        ValueError: it is no XML, or lacks the projection, the size or the corner at 10 m.
    """
    try:
        coding = ElementTree.fromstring(tile_metadata).find(".//Tile_Geocoding")
    except ElementTree.ParseError as error:
        raise ValueError(f"MTD_TL.xml must be XML: {error}") from None
    said = [None if coding is None else coding.findtext(path) for path in _GRID.values()]
    try:
        epsg, rows, columns, ulx, uly = (float((text or "").removeprefix("EPSG:")) for text in said)
    except ValueError:
        lacks = [name for name, text in zip(_GRID, said, strict=True) if not text]
        raise ValueError(f"MTD_TL.xml must give {', '.join(_GRID)} at 10 m; got {said}, without {lacks}") from None
    if rows != columns:
        raise ValueError(f"MTD_TL.xml must describe a square tile, got {rows:.0f} x {columns:.0f} pixels")
    return TileGrid(int(epsg), ulx, uly, int(rows))


_GRID = {
    "HORIZONTAL_CS_CODE": "HORIZONTAL_CS_CODE",
    "NROWS": "Size[@resolution='10']/NROWS",
    "NCOLS": "Size[@resolution='10']/NCOLS",
    "ULX": "Geoposition[@resolution='10']/ULX",
    "ULY": "Geoposition[@resolution='10']/ULY",
}


def _tile_metadata(product: Path) -> bytes:
    """Content of the product's one MTD_TL.xml."""
    try:
        if product.is_dir():
            return _one(product, sorted(product.glob("GRANULE/*/MTD_TL.xml"))).read_bytes()
        with zipfile.ZipFile(product) as archive:
            return archive.read(_one(product, [name for name in archive.namelist() if _INSIDE_ZIP.fullmatch(name)]))
    except (OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{product} cannot be read: {error}") from None


def _one(product: Path, found: list[T]) -> T:
    if len(found) != 1:
        raise ValueError(f"{product} must hold one GRANULE/*/MTD_TL.xml, got {len(found)}")
    return found[0]


def _cells(product: str, tile_metadata: bytes) -> pa.Table:
    said = parse_product(product)
    if not said.tile:
        raise ValueError("a product of several tiles (its name gives none) must be split into one product a tile")
    grid, nominal = read_grid(tile_metadata), nominal_origin(said.tile)
    if (grid.epsg, grid.ulx, grid.uly) != (nominal.epsg, nominal.ulx, nominal.uly):
        raise ValueError(
            f"tile {said.tile} must begin at {nominal.ulx:.0f}, {nominal.uly:.0f} (EPSG:{nominal.epsg}), "
            f"got {grid.ulx:.10g}, {grid.uly:.10g} (EPSG:{grid.epsg})"
        )
    across = grid.size_px * 10 // PATCH_M
    row, col = (axis.ravel() for axis in np.indices((across, across)))
    return table_of(
        patch=[PatchName(said, int(j), int(i)).name for j, i in zip(row, col, strict=True)],
        tile=pa.repeat(said.tile, len(row)),
        product=pa.repeat(product, len(row)),
        acquired=pa.repeat(pa.scalar(said.acquired, pa.timestamp("s", tz="UTC")), len(row)),
        epsg=np.full(len(row), grid.epsg, np.int32),
        ulx=grid.ulx + PATCH_M * col.astype(float),
        uly=grid.uly - PATCH_M * row.astype(float),
    )
