"""The files of one product, in the format SAFE or EOPF's Zarr, as folder or zip file in any packing."""

import errno
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from etl.bucket_files import RemoteFile
from etl.input_files import MOST_METADATA_BYTES, NO_LINKS, FileStat, Links, fault_text, shortened
from etl.packed_files import RangeFile, files_in

__all__ = [
    "ZARR_METADATA",
    "ProductError",
    "ProductFiles",
    "is_macos_clutter",
    "is_zarr_product",
    "missing_in_product",
    "product_errors",
]

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
_GRANULE = re.compile(r"(?P<root>(?:.*?/)?)GRANULE/", re.IGNORECASE | re.DOTALL)
_REFLECTANCE = re.compile(r"(?P<root>(?:.*?/)?)measurements/reflectance/", re.DOTALL)
ZARR_METADATA = ("zarr.json", ".zmetadata", ".zattrs", ".zgroup")
"""Files of a Zarr group, of format 3 and 2."""


_READ_ERRORS = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a file raises; RuntimeError of an encrypted zip file."""


class ProductError(Exception):
    """A product cannot be used; the message names the product, what must hold and what was found."""


class ProductFiles:
    """Names and content of the files of the one product in a folder or zip file, however it is packed.

    The product's own folder is the one with its metadata file and GRANULE (or, without one, with the other), at any
    depth; of EOPF's Zarr the one with measurements/reflectance. What macOS adds (`__MACOSX`, `._*`, `.DS_Store`) is
    left out.

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
        of_zarr = {match["root"] for match in map(_REFLECTANCE.match, names) if match}
        self.is_zarr = not roots and bool(of_zarr)
        """Whether it is a product in EOPF's Zarr format."""
        roots = roots or of_zarr
        self.holds_product = bool(roots)
        """Whether there is a metadata file of a product, a folder GRANULE, or one with reflectances in Zarr."""
        self._root = min(roots & granules or roots, key=len, default="")  # metadata alone can lie around a product
        if not all(root.startswith(self._root) or self._root.startswith(root) for root in roots):
            found = ", ".join(root.rstrip("/") for root in sorted(roots))
            raise ProductError(f"{path} must hold one product, got {len(roots)}: {found}")
        self.names = {name.removeprefix(self._root) for name in names if name.startswith(self._root)}
        """Paths of all files, relative to the product's folder."""
        self._parsed: dict[str, ElementTree.Element] = {}  # name, granule and offsets come from the same few files
        self._json: dict[str, dict[str, Any]] = {}

    @property
    def refused(self) -> Mapping[str, str]:
        """Why files and folders are left out, by their paths within the folder or zip file."""
        return self._files.refused

    @property
    def hint(self) -> str:
        """End of a message that something is missing: what may not be read, and why; may be empty."""
        if not (refused := self.refused):
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
        except ConnectionError:
            raise
        except _READ_ERRORS as error:
            raise ProductError(f"{self.path}: {name} cannot be read: {error}") from None
        except (ElementTree.ParseError, LookupError, ValueError) as error:  # LookupError: an unknown encoding
            raise ProductError(f"{self.path}: {name} must be well-formed XML: {error}") from None
        except (MemoryError, RecursionError) as error:
            raise ProductError(f"{self.path}: {name} cannot be parsed: {fault_text(error)}") from None

    def read_json(self, name: str) -> dict[str, Any]:
        """The object in a JSON file of the product, which is read once.

        Raises:
            ProductError: the file is missing, cannot be read, or holds no JSON object.
        """
        if name in self._json:
            return self._json[name]
        if name not in self.names:
            raise ProductError(f"{self.path} must hold {name}, which is missing{self.hint}")
        try:
            value = json.loads(self._files.read(self._root + name, MOST_METADATA_BYTES))
        except ConnectionError:
            raise
        except _READ_ERRORS as error:
            raise ProductError(f"{self.path}: {name} cannot be read: {error}") from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise ProductError(f"{self.path}: {name} must be JSON: {fault_text(error)}") from None
        if not isinstance(value, dict):
            raise ProductError(f"{self.path}: {name} must hold a JSON object, got {shortened(repr(value), 40)}")
        return self._json.setdefault(name, value)

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

    def open_ranges(self, name: str) -> RangeFile | RemoteFile:
        """A file of the product, of which any range of bytes can be read; of a zip file of the decompressed ones.

        Raises:
            OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error: it cannot be opened or, later, read.
        """
        return self._files.open_ranges(self._root + name)

    def stat(self, name: str) -> FileStat:
        """What is known of a file without reading it."""
        return self._files.stat(self._root + name)


@contextmanager
def product_errors(path: Path) -> Iterator[None]:
    """What is raised while the product at `path` is read, as a ProductError: one product must not end a run.

    Raises:
        ProductError: anything but an interrupt was raised; the message names the product.
        ConnectionError: a server does not answer; a later run can succeed.
    """
    try:
        yield
    except (ProductError, ConnectionError):
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


def is_zarr_product(folders: Iterable[str], files: Iterable[str]) -> bool:
    """Whether a folder that holds these folders and files is a product in EOPF's Zarr format."""
    return "measurements" in folders and any(name in ZARR_METADATA for name in files)
