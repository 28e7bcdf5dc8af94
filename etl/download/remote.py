"""Files of offered products: their bytes by S3, which has ranges, or by HTTP, which has none."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urljoin, urlsplit

import requests

from etl.bucket_files import BucketFiles
from etl.download.offer import Offer
from etl.download.tokens import AccessTokens
from etl.download.web import TIMEOUTS_S, BrokenOffError, service_errors, shown

__all__ = ["HttpFiles", "MissingFileError", "RemoteFiles", "S3Files"]

_PART_BYTES = 8 << 20
"""Bytes of one request for a part of a file: the most that a killed run fetches again of each file."""

_PIECE_BYTES = 1 << 20

_MOST_REDIRECTS = 5


class MissingFileError(Exception):
    """A file of a product is not there, or may not be read."""


class RemoteFiles(ABC):
    """Files of products at a service; used by several threads."""

    has_ranges: ClassVar[bool]
    """Whether a file can be read from a byte in its middle on."""

    @abstractmethod
    def pieces(self, offer: Offer, name: str, offset: int) -> Iterator[bytes]:
        """The bytes of a file from `offset` on, in pieces; `offset` is 0 where there are no ranges.

        Raises:
            BrokenOffError: the answer broke off after some pieces.
            ConnectionError: the service does not answer, after all attempts.
            MissingFileError: the file is not there.
        """


class S3Files(RemoteFiles):
    """Files in a bucket; address and credentials as for every bucket."""

    has_ranges = True

    def __init__(self) -> None:
        self._listed = lru_cache(maxsize=64)(BucketFiles)

    def pieces(self, offer: Offer, name: str, offset: int) -> Iterator[bytes]:
        """As of `RemoteFiles`; one request for each part."""
        files, start = self._files(offer), offset
        try:
            file = files.open_ranges(name)
            while offset < file.size_bytes:
                yield (part := file.read(offset, _PART_BYTES))
                offset += len(part)
        except KeyError:
            raise MissingFileError(f"{files.path} holds no {name}") from None
        except FileNotFoundError as error:
            raise MissingFileError(str(error)) from None
        except ConnectionError as error:
            raise BrokenOffError(str(error)) if offset > start else error from None
        except OSError as error:  # it was replaced meanwhile, or is larger than any real one
            self._listed.cache_clear()
            raise MissingFileError(str(error)) from None

    def _files(self, offer: Offer) -> BucketFiles:
        if not offer.s3_path:
            raise MissingFileError(f"{offer.stem}: the catalogue does not say where it lies in a bucket")
        files = self._listed(Path("s3:", offer.s3_path))
        if not files.names:
            raise MissingFileError(f"{files.path} is not in the bucket")
        return files


class HttpFiles(RemoteFiles):
    """Files that are sent over HTTP, whole, to those who show a token."""

    has_ranges = False

    def __init__(self, session: Callable[[], requests.Session], tokens: AccessTokens, download_url: str) -> None:
        """Args: makes a session; tokens; address of the service: to other servers no token is sent."""
        self._make, self._tokens, self._service = session, tokens, urlsplit(download_url)
        self._threads = threading.local()

    def pieces(self, offer: Offer, name: str, offset: int) -> Iterator[bytes]:
        """As of `RemoteFiles`; by one request."""
        if not offer.node_url:
            raise MissingFileError(f"{offer.stem}: the catalogue does not say where it lies on the web")
        url = offer.node_url + "".join(f"/Nodes({quote(part, safe='')})" for part in name.split("/")) + "/$value"
        with service_errors(url), self._answer(url) as answer:
            try:
                yield from answer.iter_content(_PIECE_BYTES)  # which compares the bytes with Content-Length
            except requests.RequestException:
                raise BrokenOffError(f"{shown(url)}: the answer broke off") from None

    @contextmanager
    def _answer(self, url: str) -> Iterator[requests.Response]:
        """The answer with a file; redirects are followed, and a token that has expired is replaced once."""
        address, is_renewed = url, False
        for _ in range(_MOST_REDIRECTS + 2):
            token = self._tokens.current() if self._is_own(address) else ""
            headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {})
            with self._session.get(
                address, headers=headers, timeout=TIMEOUTS_S, stream=True, allow_redirects=False
            ) as answer:
                if answer.is_redirect:
                    address = urljoin(address, answer.headers["Location"])
                    continue
                if answer.status_code == requests.codes.unauthorized and token and not is_renewed:
                    self._tokens.replace(token)
                    is_renewed = True
                    continue
                _require_ok(url, answer.status_code)
                yield answer
                return
        raise ConnectionError(f"{shown(url)}: the server must send the file after at most {_MOST_REDIRECTS} redirects")

    @property
    def _session(self) -> requests.Session:
        """The session of this thread."""
        if not hasattr(self._threads, "session"):
            self._threads.session = self._make()
        session: requests.Session = self._threads.session
        return session

    def _is_own(self, address: str) -> bool:
        """Whether an address is of the service itself, or of a server beside it in the same domain."""
        parts, own = urlsplit(address), self._service.hostname or ""
        host, beside = parts.hostname or "", own.partition(".")[2]
        is_near = host == own or ("." in beside and host.endswith(f".{beside}") and not own.replace(".", "").isdigit())
        return is_near and parts.scheme in (self._service.scheme, "https")


def _require_ok(url: str, status: int) -> None:
    if status in (requests.codes.not_found, requests.codes.gone):
        raise MissingFileError(f"{shown(url)} is not there (status {status})")
    if status in (requests.codes.unauthorized, requests.codes.forbidden):
        raise ConnectionError(
            f"{shown(url)}: the server refuses the request (status {status}); may this account read it?"
        )
    if status != requests.codes.ok:
        raise ConnectionError(f"{shown(url)}: the server answers with status {status}")
