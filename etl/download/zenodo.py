"""Files of a record at Zenodo: what the record publishes of them, and their bytes, by ranges where the server has them.

Source: Zenodo, documentation of the REST API, records; RFC 9110, section 14 (ranges) and 13.1.5 (If-Range).
"""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from etl.download.remote import RefusedFileRequestError, ReplacedFileError, require_ok
from etl.download.web import TIMEOUTS_S, RetryableError, get_json, new_session, service_errors, shown
from etl.input_files import refused_name

__all__ = ["ARCHIVE_RECORDS", "PublishedFile", "ZenodoFiles", "published_files", "record_url"]

ARCHIVE_RECORDS = {"bigearthnet-v1": 12687186, "bigearthnet-v2": 10891137}
"""Number of the record of each archive.

Source: https://doi.org/10.5281/zenodo.12687186 and https://doi.org/10.5281/zenodo.10891137.
"""

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of a record."""

    name: str
    """Its name, without a folder."""

    size_bytes: int
    """Its size."""

    md5: str
    """Its MD5 digest, in 32 lower-case hexadecimal digits."""

    url: str
    """Where it is."""


def record_url(url: str, record: int) -> str:
    """Address of a record; `url`: that of the service's API."""
    return f"{url.rstrip('/')}/records/{record}"


def published_files(url: str, attempts: int) -> list[PublishedFile]:
    """The files of the record at an address, in order of their names; each request is tried up to `attempts` times.

    Raises:
        ConnectionError: the service does not answer, or not with a record.
        RefusedRequestError: it refuses the request.
    """
    entries = get_json(new_session(attempts), url).get("files")
    if not isinstance(entries, list) or not entries:
        raise ConnectionError(f"{shown(url)}: the server must answer with a record that has a list named files")
    found = {one.name: one for one in (_published(url, entry) for entry in entries)}
    return [found[name] for name in sorted(found)]


def _published(url: str, entry: Any) -> PublishedFile:
    entry = entry if isinstance(entry, dict) else {}
    links = entry.get("links") if isinstance(entry.get("links"), dict) else {}
    name, size, checksum = str(entry.get("key", "")), entry.get("size"), str(entry.get("checksum", "")).lower()
    address = str(links.get("content") or links.get("self") or "")
    is_plain = name and "/" not in name and not name.startswith(".") and not refused_name(name)
    is_sized = isinstance(size, int) and not isinstance(size, bool) and size >= 0
    if not (is_plain and is_sized and re.fullmatch("md5:[0-9a-f]{32}", checksum) and _is_address(address)):
        raise ConnectionError(
            f"{shown(url)}: each file must have a key without a folder, a size, a checksum md5:... and a link, "
            f"got key {name[:80]!r}, size {str(size)[:20]}, checksum {checksum[:45]!r}"
        )
    return PublishedFile(name, int(str(size)), checksum.removeprefix("md5:"), address)


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


class ZenodoFiles:
    """The bytes of published files; used by several threads."""

    def __init__(self) -> None:
        self._threads = threading.local()
        self._etags = dict[str, str]()
        """Strong ETags that earlier answers of this run gave, by address."""

    def pieces(self, file: PublishedFile, offset: int) -> Iterator[bytes]:
        """The bytes of a file from `offset` on, in pieces.

        Raises:
            ReplacedFileError: the server does not send it from `offset` on: it has no ranges, or another file.
            RetryableError: it is busy, or its answer broke off.
            ConnectionError: it does not answer, or refuses.
            MissingFileError: the file is not there.
        """
        at = offset
        if at == file.size_bytes and at:
            return
        try:
            with service_errors(file.url), self._request(file, offset) as answer:
                self._require_range(file, offset, answer)
                for piece in answer.iter_content(_PIECE_BYTES):
                    at += len(piece)
                    if at > file.size_bytes:
                        raise ReplacedFileError(f"{shown(file.url)} must have {file.size_bytes} bytes, got more")
                    yield piece
        except (RetryableError, RefusedFileRequestError):
            raise
        except ConnectionError as error:
            raise RetryableError(str(error), gained=at > offset) from None
        if at < file.size_bytes:
            text = f"{shown(file.url)}: the answer ended at byte {at} of {file.size_bytes}"
            raise RetryableError(text, gained=at > offset)

    def _request(self, file: PublishedFile, offset: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag := self._etags.get(file.url):
                headers["If-Range"] = etag
        return self._session.get(file.url, headers=headers, timeout=TIMEOUTS_S, stream=True)

    def _require_range(self, file: PublishedFile, offset: int, answer: requests.Response) -> None:
        """Raise an error unless an answer holds the bytes of a file from `offset` on."""
        status = answer.status_code
        if status not in (requests.codes.partial_content, requests.codes.requested_range_not_satisfiable):
            require_ok(file.url, answer)
        etag = answer.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):
            self._etags[file.url] = etag
        if offset or status != requests.codes.ok:
            wanted = f"bytes {offset}-{file.size_bytes - 1}/{file.size_bytes}"
            got = answer.headers.get("Content-Range", "the whole file")
            if status != requests.codes.partial_content or got != wanted:
                raise ReplacedFileError(f"{shown(file.url)}: the server must send {wanted}, got {got[:80]}")

    @property
    def _session(self) -> requests.Session:
        """The session of this thread."""
        if not hasattr(self._threads, "session"):
            self._threads.session = new_session(1)
        session: requests.Session = self._threads.session
        return session
