"""What a product's own metadata say in either format: its name, its tile's georeference, and where its granule is."""

import re
from xml.etree import ElementTree

from etl import eopf
from etl.grid import TileGrid
from etl.input_files import shortened
from etl.metadata_numbers import tile_grid_of
from etl.product_files import ProductError, ProductFiles

__all__ = ["find_granule", "find_text", "read_product_uri", "read_tile_grid"]


def read_product_uri(files: ProductFiles) -> str:
    """Name of a product by its own metadata, mostly with .SAFE, of Level-1C or Level-2A.

    Raises:
        ProductError: there is no metadata file, or it does not give the name.
    """
    if files.is_zarr:
        return eopf.product_uri_of(files)
    where = f"{files.path}: its product metadata"
    return shortened(find_text(files.read_metadata(), where, "PRODUCT_URI", "PRODUCT_URI_2A"))


def find_text(root: ElementTree.Element, where: str, *paths: str) -> str:
    """Text of the first element at one of `paths`, in any XML namespace, without surrounding blanks.

    Raises:
        ProductError: no such element holds text; the message begins with `where`.
    """
    for path in paths:
        for element in root.iterfind(".//{*}" + path.replace("/", "/{*}")):
            if element.text:
                return element.text.strip()
    raise ProductError(f"{where} must hold {' or '.join(paths)}{'; it holds neither' if len(paths) > 1 else ''}")


def find_granule(files: ProductFiles) -> str:
    """Folder of the granule that is the product's tile, e.g. GRANULE/L2A_T33UUP_A010312_20170613T101608.

    Its name must not name another tile than the product's. Of several, it is the one whose images the product's
    metadata list.

    Raises:
        ProductError: there is none, or no single one is the product's tile.
    """
    matches = (re.fullmatch(r"(GRANULE/[^/]+)/MTD_TL\.xml", name, re.IGNORECASE) for name in files.names)
    granules = sorted({match[1] for match in matches if match})
    if not granules:
        raise ProductError(f"{files.path} must hold GRANULE/*/MTD_TL.xml, which is missing{files.hint}")
    names, tile = ", ".join(granule.partition("/")[2] for granule in granules), _tile_of(files)
    of_tile = [granule for granule in granules if not tile or _tile_in(granule) in ("", tile)]
    if not of_tile:
        raise ProductError(f"{files.path} must hold the granule of its tile {tile}, got {names}")
    if len(of_tile) == 1:
        return of_tile[0]
    texts = "\n".join(element.text or "" for element in files.read_metadata().iter())
    listed = [granule for granule in of_tile if f"{granule}/" in texts]
    if len(listed) != 1:
        needed = "its metadata must list the images of exactly one of them"
        raise ProductError(f"{files.path} holds {len(granules)} granules: {names}; {needed}")
    return listed[0]


def _tile_of(files: ProductFiles) -> str:
    """MGRS tile that the product's own metadata name, or else its folder or zip file; empty if neither does."""
    try:
        uri = read_product_uri(files)
    except ProductError:
        uri = ""
    return _tile_in(uri) or _tile_in(files.path.name)


def _tile_in(name: str) -> str:
    """MGRS tile in the name of a product or granule; empty if it names none."""
    match = re.search(r"_T(\d{2}[A-Z]{3})(?![A-Za-z0-9])", name)
    return match[1] if match else ""


def read_tile_grid(files: ProductFiles) -> TileGrid:
    """Georeference of a product's tile at 10 m, from its own metadata: EPSG code, corner in metres, side in pixels.

    In SAFE, that is `MTD_TL.xml` of its granule.

    Raises:
        ProductError: the metadata are missing or broken, or lack one of these.
    """
    if files.is_zarr:
        return eopf.grid_of(files)
    where = f"{files.path}: its tile metadata"
    root = files.read_xml("GRANULE/*/MTD_TL.xml", re.escape(f"{find_granule(files)}/MTD_TL.xml"))
    size, corner = "Size[@resolution='10']", "Geoposition[@resolution='10']"  # also listed at 20 m and 60 m
    paths = ("HORIZONTAL_CS_CODE", f"{size}/NROWS", f"{size}/NCOLS", f"{corner}/ULX", f"{corner}/ULY")
    epsg, rows, columns, ulx, uly = (find_text(root, where, path) for path in paths)
    return tile_grid_of(where, epsg.rsplit(":", 1)[-1], (rows, columns), (ulx, uly))
