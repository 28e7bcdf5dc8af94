"""What `manifest.safe` of a product says of its files: path, size and checksum of each.

Source: ESA, S2-PDGS-TAS-DI-PSD, manifest.safe; sentinelsat, pull request 523.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

from etl.input_files import shortened

__all__ = ["CHECKSUM_NAMES", "MANIFEST", "ListedFile", "listed_files"]

MANIFEST = "manifest.safe"
"""Name of the file, in the product's folder."""

CHECKSUM_NAMES = ("MD5", "SHA3-256")
"""Each `checksumName`: MD5, and SHA3-256 since processing baseline 03.01."""


class ListedFile(NamedTuple):
    """A file of a product, as the manifest lists it."""

    name: str
    """Path of the file, relative to the product's folder."""

    checksum_name: str
    """MD5 or SHA3-256; what else the manifest says, in capitals."""

    digest: str
    """The checksum, in lower-case hexadecimal digits."""

    size_bytes: int
    """Its size, which is not always right; 0 if the manifest states none."""

    def require_known_checksum(self) -> None:
        """Raise a ValueError if the checksum is of another kind than `CHECKSUM_NAMES`."""
        if self.checksum_name not in CHECKSUM_NAMES:
            raise ValueError(
                f"{MANIFEST} must give checksums of the kind {' or '.join(CHECKSUM_NAMES)}, "
                f"got {shortened(self.checksum_name, 40)!r}"
            )


def listed_files(manifest: ElementTree.Element) -> Iterator[ListedFile]:
    """The files that a manifest lists with a checksum; it may list a file twice."""
    for stream in manifest.iterfind(".//{*}byteStream"):
        place, checksum = stream.find("{*}fileLocation"), stream.find("{*}checksum")
        if place is None or checksum is None:
            continue
        name = str(PurePosixPath(place.get("href", "")))  # with and without ./ in front
        kind, digest = checksum.get("checksumName", "").upper(), shortened((checksum.text or "").strip().lower())
        yield ListedFile(name, kind, digest, _size_bytes(stream.get("size", "")))


def _size_bytes(text: str) -> int:
    """The size in a manifest; 0 if it is none, or of more digits than any file's."""
    return int(text) if text.isdecimal() and len(text) < 16 else 0
