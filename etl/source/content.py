"""Size, time and digests of each file of a product that extraction reads: do two products have the same content?

Files are told apart by what they hold (B02, SCL, MTD_MSIL2A.xml, MTD_TL.xml; of Zarr B02/0.0), so that a product that
was copied, renamed, unpacked or zipped is still the same.
"""

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import xxhash

from etl.eopf import array_name
from etl.input_files import Links
from etl.product_files import ZARR_METADATA, ProductError, ProductFiles, product_errors
from etl.product_metadata import find_granule
from etl.source.product import Product

__all__ = [
    "READ_ERRORS",
    "UNREADABLE",
    "FileContent",
    "ProductContent",
    "ReadFile",
    "content_of_record",
    "describe_difference",
    "digests_of",
    "kind_of",
    "kinds_to_read",
    "read_files",
    "record_of_content",
    "same_content",
]

CRC32 = "CRC32"
"""Kind of a digest that a zip file gives for each of its entries."""

ETAG = "ETAG"
"""Kind of a digest that the server of a bucket gives for each of its files."""

WHOLE = "XXH3"
"""Kind of a digest of all bytes of a file."""

SAMPLES = "XXH3-SAMPLES"
"""Kind of a digest of 16 pieces of 4 KiB, evenly from the first bytes of a file to its last."""

UNREADABLE = "unreadable"
"""Digest of a file that cannot be read."""

READ_ERRORS = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, ProductError)
"""What `digests_of` raises."""

_PIECES, _PIECE_BYTES, _READ_BYTES = 16, 4096, 1 << 20


class FileContent(NamedTuple):
    """Size and digests of a file; equal digests of one kind mean equal content."""

    size_bytes: int
    """Size of the file; of an entry in a zip file, without compression."""

    changed_ns: int
    """Time of the last change of the file, or of the zip file with it, in nanoseconds since 1970 (`st_ctime_ns`)."""

    digests: tuple[str, ...]
    """Each as "KIND:digits", the most telling first."""


ProductContent = Mapping[str, FileContent]
"""Files of a product that are read, by what they hold: B01 to B12, SCL, MTD_MSIL2A.xml, MTD_TL.xml; of a product in
Zarr by band and chunk, such as B02/0.0, and by name of the metadata."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file that extraction reads."""

    product: Path
    """Folder or zip file."""

    name: str
    """Path of the file, relative to the product's folder."""

    holds: str
    """Band, SCL, MTD_MSIL2A.xml or MTD_TL.xml."""

    content: FileContent
    """As far as it is known without reading the file whole."""

    links: Links
    """Where links in the product may lead."""


class _Hasher(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class _Crc32:
    """CRC-32 as a zip file has it, in the manner of hashlib."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = zlib.crc32(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


def _hasher(kind: str) -> _Hasher:
    if kind == CRC32:
        return _Crc32()
    if kind == WHOLE:
        return xxhash.xxh3_128()
    return hashlib.new(kind.lower().replace("-", "_"), usedforsecurity=False)  # MD5, SHA3-256


def kind_of(digest: str) -> str:
    """The kind of a digest, such as MD5."""
    return digest.partition(":")[0]


def digests_of(item: ReadFile, kinds: Iterable[str]) -> tuple[str, ...]:
    """Digests of these kinds of a file, which is read once.

    Raises:
        OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, ProductError: it cannot be read.
    """
    hashers = {kind: _hasher(kind) for kind in kinds if kind != SAMPLES}
    files = ProductFiles(item.product, item.links)
    with files.open(item.name) as file:
        while hashers and (data := file.read(_READ_BYTES)):
            for hasher in hashers.values():
                hasher.update(data)
    digests = {kind: _digest(kind, hasher.hexdigest()) for kind, hasher in hashers.items()}
    if SAMPLES in kinds:
        digests[SAMPLES] = _sampled(files, item.name, item.content.size_bytes)
    return tuple(digests[kind] for kind in kinds)


def _digest(kind: str, digits: str) -> str:
    return f"{kind}:{digits}"


def _sampled(files: ProductFiles, name: str, size_bytes: int) -> str:
    hasher = xxhash.xxh3_128()
    last = max(0, size_bytes - _PIECE_BYTES)
    with files.open(name) as file:
        for at in sorted({last * k // (_PIECES - 1) for k in range(_PIECES)}):
            file.seek(at)
            hasher.update(file.read(_PIECE_BYTES))
    return _digest(SAMPLES, hasher.hexdigest())


def read_files(product: Product, *, sampled: bool) -> list[ReadFile]:
    """The files of a product that are read, with the digests that come without reading them whole.

    These are the checksums of a zip file; of a folder, with `sampled`, digests of samples.

    Raises:
        ProductError: it lacks its metadata, or is no product any more.
    """
    with product_errors(Path(product.path)):
        return _read_files(product, sampled)


def _read_files(product: Product, sampled: bool) -> list[ReadFile]:
    files = ProductFiles(Path(product.path), product.links)
    names = _zarr_names(files, product) if product.is_zarr else _safe_names(files, product)
    return [
        ReadFile(files.path, name, holds, _content_of(files, name, sampled), product.links)
        for holds, name in sorted(names.items())
    ]


def _safe_names(files: ProductFiles, product: Product) -> dict[str, str]:
    """Names of the files of a product in SAFE that are read, by what they hold."""
    holds_by_path = {path: holds for holds, path in product.files.items()}
    names = {holds_by_path[path]: name for name in files.names if (path := files.gdal_path(name)) in holds_by_path}
    tile_metadata = f"{find_granule(files)}/MTD_TL.xml".lower()
    names["MTD_MSIL2A.xml"] = files.metadata_name(of_today=True)
    names["MTD_TL.xml"] = next(name for name in files.names if name.lower() == tile_metadata)
    return names


def _zarr_names(files: ProductFiles, product: Product) -> dict[str, str]:
    """The same of a product in Zarr: by band and chunk, such as B02/0.1, and by name of the metadata."""
    names = dict[str, str]()
    for band in product.files:
        top = f"{array_name(band)}/"
        names |= {f"{band}/{name.removeprefix(top)}": name for name in files.names if name.startswith(top)}
    return names | {name: name for name in ZARR_METADATA if name in files.names}


def _content_of(files: ProductFiles, name: str, sampled: bool) -> FileContent:
    try:
        stat = files.stat(name)
        digests: tuple[str, ...] = ()
        if stat.crc32 is not None:
            digests = (_digest(CRC32, f"{stat.crc32:08x}"),)
        elif stat.etag:
            digests = (_digest(ETAG, stat.etag.strip('"')),)
        elif sampled:
            digests = (_sampled(files, name, stat.size_bytes),)
    except READ_ERRORS:
        return FileContent(0, 0, (UNREADABLE,))
    return FileContent(stat.size_bytes, stat.changed_ns, digests)


def same_content(before: FileContent, now: FileContent) -> bool:
    """Whether two files are the same: of one size, and with an equal digest."""
    digest_by_kind = {kind_of(digest): digest for digest in now.digests}
    shared = [digest for digest in before.digests if kind_of(digest) in digest_by_kind]
    equal = all(digest_by_kind[kind_of(digest)] == digest for digest in shared)
    return before.size_bytes == now.size_bytes and bool(shared) and equal


def describe_difference(before: ProductContent, now: ProductContent, paths: Mapping[str, str]) -> str:
    """The first file of a product that differs, and how; empty if none does.

    `paths`: where the files are now, by what they hold.
    """
    for holds in sorted(before.keys() | now.keys()):
        path = os.fspath(paths.get(holds, holds))
        shown = f"its {holds}, {path}," if path != holds else f"its {holds}"
        if holds not in now:
            return f"its {holds} is missing"
        if holds not in before:
            return f"{shown} was missing"
        if before[holds].size_bytes != now[holds].size_bytes:
            return f"{shown} had {before[holds].size_bytes} bytes and has {now[holds].size_bytes}"
        if not same_content(before[holds], now[holds]):
            digests = ", ".join(before[holds].digests), ", ".join(now[holds].digests)
            return f"{shown} had other bytes: {digests[0]}, and has {digests[1]}"
    return ""


def record_of_content(content: ProductContent) -> dict[str, list[Any]]:
    """`content` as JSON: by what a file holds its size, its time, then its digests."""
    return {holds: [file.size_bytes, file.changed_ns, *file.digests] for holds, file in content.items()}


def content_of_record(record: Any) -> dict[str, FileContent]:
    """The inverse of `record_of_content`.

    Raises:
        ValueError: it is no such record.
    """
    try:
        content = {
            holds: FileContent(size, changed, tuple(digests)) for holds, (size, changed, *digests) in record.items()
        }
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"must give size, time and digests of each file, got {str(record)[:80]}") from None
    for size, changed, digests in content.values():
        numbers = [value for value in (size, changed) if isinstance(value, int)]
        if len(numbers) < 2 or not all(isinstance(digest, str) for digest in digests):
            raise ValueError(f"must give size, time and digests of each file, got {str(record)[:80]}")
    return content


def kinds_to_read(file: FileContent, known: Sequence[FileContent], checksum_kind: str, *, record: bool) -> list[str]:
    """Kinds of digests for which a file must be read whole, because none of its digests tells enough.

    `known`: what the journal says of the file; `checksum_kind`: of the manifest, empty if it is not to be compared;
    `record`: whether the journal is to have a digest of it.
    """
    present = {kind_of(digest) for digest in file.digests}
    kinds = [checksum_kind] if checksum_kind and checksum_kind not in present else []
    for item in known:
        of_item = [kind_of(digest) for digest in item.digests if digest != UNREADABLE]
        if item.size_bytes == file.size_bytes and of_item and present.union(kinds).isdisjoint(of_item):
            kinds.append(of_item[0])
    return kinds or ([WHOLE] if record and not present else [])
