"""Compare the files of a product that extraction reads with the checksums in the product's own `manifest.safe`.

Damage inside a JPEG 2000 file mostly decodes without a word, to wrong pixels: only the checksum tells. Files that the
manifest does not list, as after a conversion to GeoTIFF, and products without a manifest are not compared.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from etl.bucket_files import is_remote
from etl.input_files import Links
from etl.product_files import ProductError, ProductFiles, product_errors
from etl.product_metadata import find_granule
from etl.safe_manifest import MANIFEST, listed_files
from etl.source.product import Product

__all__ = ["FileChecksum", "foreign_manifest", "needed_checksums", "wrong_file"]


@dataclass(frozen=True, slots=True)
class FileChecksum:
    """A file that extraction reads, and the checksum that the product's manifest gives for it."""

    product: Path
    """Folder or zip file."""

    name: str
    """Path of the file, relative to the product's folder."""

    checksum_name: str
    """MD5 or SHA3-256."""

    digest: str
    """The checksum, in lower-case hexadecimal digits."""

    size_bytes: int
    """Size as the manifest states it, which is not always right: only to share the work among ranks."""

    links: Links
    """Where links in the product may lead."""


def needed_checksums(product: Product) -> list[FileChecksum]:
    """Checksums of the files of a product that are read: images of its bands and scene classes, and two metadata files.

    What the manifest does not list is left out, and so is everything if there is no manifest.

    Raises:
        ProductError: the manifest cannot be read, or gives a checksum of another kind.
    """
    if product.is_zarr or is_remote(
        Path(product.path)
    ):  # EOPF's format has no manifest; no file of a bucket is read whole
        return []
    with product_errors(Path(product.path)):
        return _needed_checksums(product)


def _needed_checksums(product: Product) -> list[FileChecksum]:
    files = ProductFiles(Path(product.path), product.links)
    images = set(product.files.values())
    metadata, tile_metadata = files.metadata_name(of_today=True), f"{find_granule(files)}/MTD_TL.xml".lower()
    return [
        checksum
        for checksum in _listed_checksums(files, product.links)
        if files.gdal_path(checksum.name) in images
        or checksum.name == metadata
        or checksum.name.lower() == tile_metadata
    ]


def _listed_checksums(files: ProductFiles, links: Links) -> list[FileChecksum]:
    """Checksums that the manifest gives for files that are there, by name; a manifest may list a file twice."""
    name_by_lower = {name.lower(): name for name in files.names}  # copied through Windows, names may differ in case
    if MANIFEST not in name_by_lower:
        return []
    checksums = {}
    manifest = files.read_xml(MANIFEST, re.escape(name_by_lower[MANIFEST]))
    try:
        for listed in listed_files(manifest):
            name = listed.name if listed.name in files.names else name_by_lower.get(listed.name.lower())
            if name is not None:
                listed.require_known_checksum()
                checksums[name] = FileChecksum(files.path, name, *listed[1:], links)
    except ValueError as error:
        raise ProductError(f"{files.path}: {error}") from None
    return [checksums[name] for name in sorted(checksums)]


def wrong_file(expected: FileChecksum, digests: Sequence[str], problem: str = "") -> str:
    """Why a file does not have its checksum; empty if it does.

    `digests`: as of `etl.source.content.digests_of`; `problem`: why the file cannot be read.
    """
    where, kind = f"{expected.product}: {expected.name}", expected.checksum_name
    digest = next((text.partition(":")[2] for text in digests if text.startswith(f"{kind}:")), "")
    if problem or not digest:
        return f"{where} cannot be read: {problem}"
    if digest == expected.digest:
        return ""
    return f"{where} is damaged: {kind} must be {expected.digest} as in manifest.safe, got {digest}; download it again"


def foreign_manifest(wrong: Mapping[FileChecksum, str]) -> str:
    """Why a manifest is not that of the product's files: all of several differ; empty if any is right.

    `wrong`: answer of `wrong_file` by file. Damage spares most files; a manifest that was written for other files, as
    in products that were converted after processing, fits none.
    """
    if len(wrong) < 2 or not all(wrong.values()):
        return ""
    product = next(iter(wrong)).product
    return f"{product}: manifest.safe was written for other files: all {len(wrong)} checksums differ"
