"""The files of one product, as folder or zip file in any packing, and the georeference in its tile metadata."""

import errno
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from etl.grid import TileGrid
from etl.input_files import MOST_METADATA_BYTES, NO_LINKS, Links, fault_text, shortened
from etl.packed_files import FileStat, files_in

__all__ = [
    "ProductError",
    "ProductFiles",
    "find_granule",
    "find_text",
    "is_macos_clutter",
    "missing_in_product",
    "number_in",
    "product_errors",
    "read_tile_grid",
]

T = TypeVar("T", int, float)

# today's form, and the one before December 2016
_METADATA_NAME = r"MTD_MSIL(?:1C|2A)[^/]*\.xml|S2[A-D]_\w{4}_MTD_SAFL(?:1C|2A)_[^/]*\.xml"
_METADATA = re.compile(rf"(?P<root>(?:.*/)?)(?:{_METADATA_NAME})", re.IGNORECASE | re.DOTALL)
# of one product's files: Level-2A before Level-1C, the exact name before copies of it, such as `MTD_MSIL2A (1).xml`
_METADATA_NAMES = (
    r"MTD_MSIL2A\.xml",
    r"MTD_MSIL2A[^/]*\.xml",
    r"S2[A-D]_\w{4}_MTD_SAFL2A_[^/]*\.xml",
    r"MTD_MSIL1C\.xml",
    r"MTD_MSIL1C[^/]*\.xml|S2[A-D]_\w{4}_MTD_SAFL1C_[^/]*\.xml",
)
_EPSG = (32601, 32760)
"""Codes of the UTM zones of WGS 84, in which all tiles lie."""

_METRES = (-1_000_000, 11_000_000)
"""Least and most easting or northing of a tile's corner, in m."""

_SIDE_PX = (1, 10_980)
"""Least and most side of a tile on the 10 m grid, in pixels."""

_GRANULE = re.compile(r"(?P<root>(?:.*?/)?)GRANULE/", re.IGNORECASE | re.DOTALL)


class ProductError(Exception):
    """A product cannot be used; the message names the product, what must hold and what was found."""


class ProductFiles:
    """Names and content of the files of the one product in a folder or zip file, however it is packed.

    The product's own folder is the one with its metadata file and GRANULE (or, without one, with the other), at any
    depth. What macOS adds (`__MACOSX`, `._*`, `.DS_Store`) is left out.

    Raises:
        ProductError: the zip file is broken, or there are several products.
    """

    def __init__(self, path: Path, links: Links = NO_LINKS) -> None:
        """Args: folder or zip file; where its links may lead, other than to places within its own folder."""
        self.path = path
        """Folder or zip file."""
        with product_errors(path):
            self._files = files_in(path, links)
        names = [name for name in self._files.names if not is_macos_clutter(name)]
        granules = {match["root"] for match in map(_GRANULE.match, names) if match}
        roots = {match["root"] for match in map(_METADATA.fullmatch, names) if match} or granules
        self.holds_product = bool(roots)
        """Whether there is a metadata file of a product, or a folder GRANULE."""
        self._root = min(roots & granules or roots, key=len, default="")  # metadata alone can lie around a product
        if not all(root.startswith(self._root) or self._root.startswith(root) for root in roots):
            found = ", ".join(root.rstrip("/") for root in sorted(roots))
            raise ProductError(f"{path} must hold one product, got {len(roots)}: {found}")
        self.names = {name.removeprefix(self._root) for name in names if name.startswith(self._root)}
        """Paths of all files, relative to the product's folder."""
        self._parsed: dict[str, ElementTree.Element] = {}  # name, granule and offsets come from the same few files

    @property
    def hint(self) -> str:
        """End of a message that something is missing: what may not be read, and why; may be empty."""
        if not (refused := self._files.refused):
            return ""
        name, reason = min(refused.items())
        return f"; {len(refused)} not read, the first: {shortened(name)} {reason}"

    def gdal_path(self, name: str) -> str:
        """The path by which GDAL opens a file of the product, inside a zip file as well."""
        return self._files.gdal_path(self._root + name)

    def read_xml(self, shown: str, pattern: str) -> ElementTree.Element:
        """Root element of the first file whose name matches `pattern`, in any case; messages call the file `shown`.

        Raises:
            ProductError: there is no such file, it cannot be read, or it is not well-formed XML.
        """
        names = sorted(name for name in self.names if re.fullmatch(pattern, name, re.IGNORECASE))
        if not names:
            raise ProductError(f"{self.path} must hold {shown}, which is missing{self.hint}")
        return self._parse(names[0])

    def _parse(self, name: str) -> ElementTree.Element:
        """Root element of the XML file with this name, which is read once."""
        try:
            if name not in self._parsed:
                self._parsed[name] = ElementTree.fromstring(self._files.read(self._root + name, MOST_METADATA_BYTES))
            return self._parsed[name]
        except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # also an encrypted zip file
            raise ProductError(f"{self.path}: {name} cannot be read: {error}") from None
        except (ElementTree.ParseError, LookupError, ValueError) as error:  # LookupError: an unknown encoding
            raise ProductError(f"{self.path}: {name} must be well-formed XML: {error}") from None
        except (MemoryError, RecursionError) as error:
            raise ProductError(f"{self.path}: {name} cannot be parsed: {fault_text(error)}") from None

    def metadata_name(self, *, of_today: bool = False) -> str:
        """Name of the metadata file that is read: MTD_MSIL2A.xml, else the only one that is named alike.

        `of_today`: only a Level-2A file in the form since December 2016.

        Raises:
            ProductError: there is none, or there are several.
        """
        for pattern in _METADATA_NAMES[: 2 if of_today else None]:
            names = sorted(name for name in self.names if re.fullmatch(pattern, name, re.IGNORECASE))
            if "MTD_MSIL2A.xml" in names:  # beside it, others can differ in case
                return "MTD_MSIL2A.xml"
            if len(names) == 1:
                return names[0]
            if names:
                raise ProductError(
                    f"{self.path} must hold one metadata file, got {', '.join(names)}; "
                    "name the product's own MTD_MSIL2A.xml, or download the product again"
                )
        raise ProductError(f"{self.path} must hold MTD_MSIL2A.xml, which is missing{self.hint}")

    def read_metadata(self, *, of_today: bool = False) -> ElementTree.Element:
        """Root element of the file `metadata_name`.

        Raises:
            ProductError: there is no single such file, it cannot be read, or it is not well-formed XML.
        """
        return self._parse(self.metadata_name(of_today=of_today))

    def read_product_uri(self) -> str:
        """Name of the product by its own metadata, mostly with .SAFE, of Level-1C or Level-2A.

        Raises:
            ProductError: there is no metadata file, or it does not give the name.
        """
        where = f"{self.path}: its product metadata"
        return shortened(find_text(self.read_metadata(), where, "PRODUCT_URI", "PRODUCT_URI_2A"))

    @contextmanager
    def open(self, name: str) -> Iterator[BufferedIOBase]:
        """A file of the product, open for reading its bytes; of a zip file the decompressed ones.

        Raises:
            OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error: it cannot be opened or, later, read.
        """
        if name not in self.names:
            raise FileNotFoundError(errno.ENOENT, "it is not in the product any more", name)
        with self._files.open(self._root + name) as file:
            yield file

    def stat(self, name: str) -> FileStat:
        """What is known of a file without reading it."""
        return self._files.stat(self._root + name)


@contextmanager
def product_errors(path: Path) -> Iterator[None]:
    """What is raised while the product at `path` is read, as a ProductError: one product must not end a run.

    Raises:
        ProductError: anything but an interrupt was raised; the message names the product.
    """
    try:
        yield
    except ProductError:
        raise
    except zipfile.BadZipFile as error:
        raise ProductError(f"{path} must be a zip file: {fault_text(error)}") from None
    except Exception as error:
        text = fault_text(error)
        raise ProductError(text if text.startswith(str(path)) else f"{path} cannot be read: {text}") from None


def is_macos_clutter(name: str) -> bool:
    """Whether a path, parts separated by `/`, is one of those that macOS adds to folders and zip files."""
    return any(part in ("__MACOSX", ".DS_Store") or part.startswith("._") for part in name.split("/"))


def missing_in_product(folders: Iterable[str], files: Iterable[str]) -> list[str]:
    """What a folder that holds these folders and files lacks to be a product's: MTD_MSIL2A.xml, GRANULE, or both."""
    metadata, granule = any(map(_METADATA.fullmatch, files)), any(name.upper() == "GRANULE" for name in folders)
    return ["MTD_MSIL2A.xml"] * (not metadata) + ["GRANULE"] * (not granule)


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
        uri = files.read_product_uri()
    except ProductError:
        uri = ""
    return _tile_in(uri) or _tile_in(files.path.name)


def _tile_in(name: str) -> str:
    """MGRS tile in the name of a product or granule; empty if it names none."""
    match = re.search(r"_T(\d{2}[A-Z]{3})(?![A-Za-z0-9])", name)
    return match[1] if match else ""


def read_tile_grid(files: ProductFiles) -> TileGrid:
    """Georeference of a product's tile at 10 m, from its `MTD_TL.xml`: EPSG code, corner in metres, side in pixels.

    Raises:
        ProductError: the file is missing or broken, or lacks one of these.
    """
    where = f"{files.path}: its tile metadata"
    root = files.read_xml("GRANULE/*/MTD_TL.xml", re.escape(f"{find_granule(files)}/MTD_TL.xml"))
    size, corner = "Size[@resolution='10']", "Geoposition[@resolution='10']"  # also listed at 20 m and 60 m
    paths = ("HORIZONTAL_CS_CODE", f"{size}/NROWS", f"{size}/NCOLS", f"{corner}/ULX", f"{corner}/ULY")
    epsg, rows, columns, ulx, uly = (find_text(root, where, path) for path in paths)
    if rows != columns:
        raise ProductError(
            f"{where} must give a square tile, got {shortened(rows, 40)} x {shortened(columns, 40)} pixels"
        )
    code = number_in(int, epsg.rsplit(":", 1)[-1], f"{where}, EPSG code", _EPSG)
    easting, northing = (number_in(float, x, f"{where}, {name}", _METRES) for name, x in (("ULX", ulx), ("ULY", uly)))
    side_px = number_in(int, rows, f"{where}, NROWS at 10 m", _SIDE_PX)
    try:
        return TileGrid(code, easting, northing, side_px)
    except ValueError as error:
        raise ProductError(f"{where} must give EPSG code, size and corner of the 10 m grid: {error}") from None


def number_in(kind: Callable[[str], T], text: str, what: str, bounds: tuple[float, float]) -> T:
    """The number in a text of a product's metadata, which must lie in [least, most].

    Raises:
        ProductError: it is none, or out of these bounds; the message begins with `what`.
    """
    least, most = bounds
    try:
        value = kind(text)
    except (ValueError, OverflowError):
        raise ProductError(f"{what} must be a number, got {shortened(text, 40)!r}") from None
    if not least <= value <= most:  # neither nan nor inf is within
        raise ProductError(f"{what} must lie in [{least:.10g}, {most:.10g}], got {shortened(text, 40)}")
    return value
