"""Level-2A products in the SAFE format, any era, as folder or zip file: which one serves a patch, and what it says.

Everything is read from the product's own XML: processing baseline, quantification, offsets per band, grid, image files.
Products of BigEarthNet's time use another vocabulary (`IMAGE_FILE_2A`, `L2A_BOA_QUANTIFICATION_VALUE`) for the same.
"""

import os
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

from etl.bands import BANDS, GROUPS
from etl.catalogue.names import Product as ProductName
from etl.catalogue.names import is_patch, parse_product
from etl.grid import TileGrid

__all__ = [
    "Product",
    "ProductError",
    "Scenes",
    "find_products",
    "one_scene",
    "products_by_scene",
    "read_product",
    "serving",
]

N = TypeVar("N", int, float)

Scenes = dict[object, list[tuple[ProductName, Path]]]
"""Products on disk by mission, relative orbit and tile."""

_NEAR = timedelta(minutes=2)


class ProductError(Exception):
    """A product cannot be used; the message says what must hold, what came, and on which file."""


@dataclass(frozen=True, slots=True)
class Product:
    """What one Level-2A product says of itself."""

    path: str
    """Folder or zip file."""

    name: str
    """Product name, without .SAFE."""

    baseline: str
    """Processing baseline, e.g. 05.10."""

    grid: TileGrid
    """Georeference and size of its tile."""

    files: dict[str, str]
    """Path for GDAL of each band's file at its native ground sample distance, and of SCL at 20 m where there is one."""

    offsets: dict[str, int]
    """What is added to each band's pixel values before dividing by `quantification`; 0 before baseline 04.00."""

    quantification: float
    """Pixel value that stands for reflectance 1."""


class _Folder:
    """The files of a product, in a folder or in a zip file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.zipped = path.is_file()
        if self.zipped:
            try:
                with zipfile.ZipFile(path) as archive:
                    names = archive.namelist()
            except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
                raise ProductError(f"{path} must be a zip file: {error}") from None
            roots = {name.split("/", 1)[0] for name in names if "/" in name}
            if len(roots) != 1:
                raise ProductError(f"{path} must hold one product folder, got {sorted(roots) or 'none'}")
            self.root = roots.pop() + "/"
            self.names = {name.removeprefix(self.root) for name in names}
        else:
            self.root = ""
            self.names = {str((folder / name).relative_to(path)) for folder, _, names in _walk(path) for name in names}

    def read(self, name: str) -> bytes:
        """Content of one file."""
        if self.zipped:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(self.root + name)
        return (self.path / name).read_bytes()

    def gdal_path(self, name: str) -> str:
        """How GDAL opens one file."""
        return f"/vsizip/{{{self.path}}}/{self.root}{name}" if self.zipped else str(self.path / name)


def find_products(folder: Path) -> list[Path]:
    """Paths of all products below `folder` (`*.SAFE` folders, `*.zip` files), sorted; `folder` may itself be one."""
    if _looks_like_product(folder):
        return [folder]
    found = []
    for here, folders, files in _walk(folder):
        found += [here / name for name in (*folders, *files) if _looks_like_product(here / name)]
        folders[:] = [name for name in folders if not name.upper().endswith(".SAFE") and not is_patch(name)]
    return sorted(found)


def _walk(top: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Every folder from `top` down, also behind links, once, with the names of its folders and of its files."""
    seen: set[Path] = set()
    for root, folders, files in os.walk(top, followlinks=True):
        here = Path(root)
        if here.resolve() in seen:
            folders.clear()
            continue
        seen.add(here.resolve())
        folders.sort()
        yield here, folders, files


def _looks_like_product(path: Path) -> bool:
    return path.name.endswith((".SAFE", ".zip")) and _named(path.name) is not None


def _named(name: str) -> ProductName | None:
    try:
        return parse_product(name)
    except ValueError:
        return None


def products_by_scene(paths: Iterable[Path]) -> Scenes:
    """Level-2A products by mission, relative orbit and tile."""
    found: Scenes = {}
    for path in paths:
        name = _named(path.name)
        if name is not None and name.level == "2A":
            found.setdefault(_scene(name), []).append((name, path))
    return found


def _scene(name: ProductName) -> object:
    return name.mission, name.orbit, name.tile


def one_scene(one: ProductName, other: ProductName) -> bool:
    """Whether two products show the same tile at the same time, whatever their level and baseline.

    BigEarthNet's label files give sensing times that are off by some seconds; an orbit passes a tile days apart.
    """
    return _scene(one) == _scene(other) and abs(one.acquired - other.acquired) <= _NEAR


def serving(listed: str, scenes: Scenes) -> Path | None:
    """Product on disk that serves a listed one, whatever its baseline: newest baseline, then newest processing."""
    name = _named(listed)
    candidates = scenes.get(_scene(name), []) if name is not None else []
    near = [found for found in candidates if name and one_scene(found[0], name)]
    return max(near, key=lambda found: (found[0].version, str(found[1])))[1] if near else None


def read_product(path: Path) -> Product:
    """What the product at `path` says of itself.

    Raises:
        ProductError: its XML is missing, malformed, or lacks what extraction needs.
    """
    folder = _Folder(path)
    name = path.name.removesuffix(".zip").removesuffix(".SAFE")
    user = _parse(
        folder,
        _only(folder, "MTD_MSIL2A.xml", lambda n: "/" not in n and n.startswith("MTD_MSIL2A") and n.endswith(".xml")),
    )
    tile = _parse(
        folder, _only(folder, "GRANULE/*/MTD_TL.xml", lambda n: n.startswith("GRANULE/") and n.endswith("MTD_TL.xml"))
    )
    where = f"{folder.path}: its product metadata"
    baseline = _text(user, ("PROCESSING_BASELINE",), where)
    quantification = _number(
        _text(user, ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"), where),
        float,
        f"{where}, quantification value",
    )
    if not 0 < quantification < float("inf"):
        raise ProductError(f"{where} must give a positive quantification value, got {quantification}")
    return Product(
        str(path), name, baseline, _grid(tile, folder.path), _files(user, folder), _offsets(user, where), quantification
    )


def _only(folder: _Folder, what: str, wanted: Callable[[str], bool]) -> str:
    found = sorted(name for name in folder.names if wanted(name))
    if not found:
        raise ProductError(f"{folder.path} must hold {what}, which is missing")
    return found[0]


def _parse(folder: _Folder, name: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(folder.read(name))
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ProductError(f"{folder.path}: {name} must be well-formed XML: {error}") from None
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # also an encrypted zip file
        raise ProductError(f"{folder.path}: {name} cannot be read: {error}") from None


def _local(element: ElementTree.Element) -> str:
    return element.tag.rsplit("}", 1)[-1]


def _text(root: ElementTree.Element, names: tuple[str, ...], where: str) -> str:
    for element in root.iter():
        if _local(element) in names and element.text:
            return element.text.strip()
    raise ProductError(
        f"{where} must hold {' or '.join(names)}; it holds neither"
        if len(names) > 1
        else f"{where} must hold {names[0]}"
    )


def _number(text: str, kind: Callable[[str], N], where: str) -> N:
    try:
        return kind(text)
    except ValueError:
        raise ProductError(f"{where} must be a number, got {text!r}") from None


def _offsets(root: ElementTree.Element, where: str) -> dict[str, int]:
    by_id = {element.get("band_id"): element.text for element in root.iter() if _local(element) == "BOA_ADD_OFFSET"}
    if not by_id:
        return {band.name: 0 for band in BANDS}
    missing = [band.name for band in BANDS if str(band.band_id) not in by_id]
    if missing:
        raise ProductError(f"{where} gives BOA_ADD_OFFSET for some bands but not for {', '.join(missing)}")
    return {
        band.name: _number(by_id[str(band.band_id)] or "", int, f"{where}, BOA_ADD_OFFSET of {band.name}")
        for band in BANDS
    }


def _files(root: ElementTree.Element, folder: _Folder) -> dict[str, str]:
    """Image files listed by the product, by band; a listed file that is absent is looked for by its end of name."""
    listed = [
        (element.text or "").strip() for element in root.iter() if _local(element) in ("IMAGE_FILE", "IMAGE_FILE_2A")
    ]
    wanted = {band: f"_{band}_{group.gsd_m}m" for group in GROUPS for band in group.bands} | {"SCL": "_SCL_20m"}
    present = {name.rsplit(".", 1)[0]: name for name in sorted(folder.names) if name.endswith((".jp2", ".tif"))}
    files = {}
    for band, ending in wanted.items():
        found = [name for name in listed if name.endswith(ending) and name in present]
        found += [stem for stem in present if stem.endswith(ending) and "/IMG_DATA/" in stem]
        if found:
            files[band] = folder.gdal_path(present[found[0]])
    missing = [band for band in wanted if band not in files and band != "SCL"]
    if missing:
        raise ProductError(f"{folder.path} must hold all twelve bands; {', '.join(missing)} missing below IMG_DATA")
    return files


def _grid(root: ElementTree.Element, path: Path) -> TileGrid:
    where = f"{path}: its tile metadata"
    code = _text(root, ("HORIZONTAL_CS_CODE",), where)
    try:
        size = next(e for e in root.iter() if _local(e) == "Size" and e.get("resolution") == "10")
        corner = next(e for e in root.iter() if _local(e) == "Geoposition" and e.get("resolution") == "10")
        rows, columns = (int(_text(size, (key,), where)) for key in ("NROWS", "NCOLS"))
        ulx, uly = (float(_text(corner, (key,), where)) for key in ("ULX", "ULY"))
        if rows != columns:
            raise ProductError(f"{where} must give a square tile, got {rows} x {columns} pixels")
        return TileGrid(int(code.rsplit(":", 1)[-1]), ulx, uly, rows)
    except (StopIteration, ValueError) as error:
        raise ProductError(
            f"{where} must give EPSG code, size and corner of the 10 m grid: {str(error) or 'one is missing'}"
        ) from None
