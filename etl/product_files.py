"""The files of one Level-2A product, as folder or zip file, and the georeference in its tile metadata."""

import re
import zipfile
import zlib
from pathlib import Path
from xml.etree import ElementTree

from etl.files import walk_folders
from etl.grid import TileGrid

__all__ = ["ProductError", "ProductFiles", "find_text", "read_tile_grid"]


class ProductError(Exception):
    """A product cannot be used; the message names the product, what must hold and what was found."""


class ProductFiles:
    """Names and content of the files in a product's folder or zip file.

    Raises:
        ProductError: the zip file is broken or does not hold one product folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """Folder or zip file."""
        self._root = ""
        if not path.is_file():
            folders = ((here.relative_to(path), names) for here, _, names in walk_folders(path))
            self.names = {str(here / name) for here, names in folders for name in names}
            """Paths of all files, relative to the product's folder."""
            return
        try:
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            raise ProductError(f"{path} must be a zip file: {error}") from None
        roots = {name.split("/", 1)[0] for name in names if "/" in name}
        if len(roots) != 1:
            raise ProductError(f"{path} must hold one product folder, got {sorted(roots) or 'none'}")
        self._root = roots.pop() + "/"
        self.names = {name.removeprefix(self._root) for name in names}

    def gdal_path(self, name: str) -> str:
        """The path by which GDAL opens a file of the product, inside a zip file as well."""
        return f"/vsizip/{{{self.path}}}/{self._root}{name}" if self._root else str(self.path / name)

    def read_xml(self, shown: str, pattern: str) -> ElementTree.Element:
        """Root element of the first file whose name matches `pattern`; messages call the file `shown`.

        Raises:
            ProductError: there is no such file, it cannot be read, or it is not well-formed XML.
        """
        names = sorted(name for name in self.names if re.fullmatch(pattern, name))
        if not names:
            raise ProductError(f"{self.path} must hold {shown}, which is missing")
        try:
            return ElementTree.fromstring(self._read(names[0]))
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # also an encrypted zip file
            raise ProductError(f"{self.path}: {names[0]} cannot be read: {error}") from None
        except (ElementTree.ParseError, LookupError, ValueError) as error:  # LookupError: an unknown encoding
            raise ProductError(f"{self.path}: {names[0]} must be well-formed XML: {error}") from None

    def _read(self, name: str) -> bytes:
        if not self._root:
            return (self.path / name).read_bytes()
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(self._root + name)


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


def read_tile_grid(files: ProductFiles) -> TileGrid:
    """Georeference of a product's tile at 10 m, from its `MTD_TL.xml`: EPSG code, corner in metres, side in pixels.

    Raises:
        ProductError: the file is missing or broken, or lacks one of these.
    """
    where = f"{files.path}: its tile metadata"
    root = files.read_xml("GRANULE/*/MTD_TL.xml", r"GRANULE/.*MTD_TL\.xml")
    size, corner = "Size[@resolution='10']", "Geoposition[@resolution='10']"  # also listed at 20 m and 60 m
    paths = ("HORIZONTAL_CS_CODE", f"{size}/NROWS", f"{size}/NCOLS", f"{corner}/ULX", f"{corner}/ULY")
    epsg, rows, columns, ulx, uly = (find_text(root, where, path) for path in paths)
    if rows != columns:
        raise ProductError(f"{where} must give a square tile, got {rows} x {columns} pixels")
    try:
        return TileGrid(int(epsg.rsplit(":", 1)[-1]), float(ulx), float(uly), int(rows))
    except ValueError as error:
        raise ProductError(f"{where} must give EPSG code, size and corner of the 10 m grid: {error}") from None
