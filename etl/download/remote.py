"""Files of offered products: their bytes by S3, which has ranges, or by HTTP, which has none."""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urljoin, urlsplit

import requests
from urllib3.util.retry import Retry

from etl.aws import S3Server, access_keys, endpoint, is_unsigned
from etl.bucket_files import BucketFiles
from etl.download.offer import Offer
from etl.download.tokens import AccessTokens
from etl.download.web import LONGEST_PAUSE_S, RETRIED, TIMEOUTS_S, RetryableError, service_errors, shown
from etl.input_files import RefusedFileError

__all__ = [
    "HttpFiles", "MissingFileError", "RefusedFileRequestError", "RemoteFiles", "ReplacedFileError", "S3Files",
    "require_ok",
]  # fmt: skip

_PART_BYTES = 8 << 20
"""Bytes of one request for a part of a file: the most that a killed run fetches again of each file."""

_PIECE_BYTES = 1 << 20

_MOST_REDIRECTS = 5


_DOMAIN = ".dataspace.copernicus.eu"
"""Servers in this domain belong to one service, and redirect to each other."""


class ReplacedFileError(RetryableError):
    """A file has been replaced since its first bytes were fetched: those must go."""


class RefusedFileRequestError(ConnectionError):
    """The server refuses a file, which a repetition does not change, but another account may."""


class MissingFileError(Exception):
    """A file of a product is not there."""


class RemoteFiles(ABC):
    """Files of products at a service; used by several threads."""

    has_ranges: ClassVar[bool]
    """Whether a file can be read from a byte in its middle on."""

    @abstractmethod
    def pieces(self, offer: Offer, name: str, offset: int) -> Iterator[bytes]:
        """The bytes of a file from `offset` on, in pieces; `offset` is 0 where there are no ranges.

        Raises:
            RetryableError: the service is busy, or its answer broke off.
            ConnectionError: the service does not answer, or refuses.
            MissingFileError: the file is not there.
        """


class S3Files(RemoteFiles):
    """Files in a bucket of the service."""

    has_ranges = True

    def __init__(self, url: str, server: S3Server | None) -> None:
        """Args: address of the server, unless the environment or the user's profile names one; the server with keys of
        its own, None if they are those of every bucket.

        Raises:
            ValueError: there are no credentials, or settings cannot be used.
        """
        if server is None:
            if not endpoint():
                os.environ["AWS_ENDPOINT_URL"] = url
            if not (os.environ.get("AWS_ACCESS_KEY_ID") or access_keys() or is_unsigned()):
                raise ValueError(
                    "--transfer s3 needs keys: set CDSE_ACCESS_KEY_ID and CDSE_SECRET_ACCESS_KEY, or "
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for a public bucket set "
                    "CDSE_NO_SIGN_REQUEST=YES"
                )
        self._listed = lru_cache(maxsize=64)(partial(BucketFiles, server=server))

    def pieces(self, offer: Offer, name: str, offset: int) -> Iterator[bytes]:
        """As of `RemoteFiles`; one request for each part."""
        start = offset
        try:
            files = self._files(offer)
            if name not in files.names:
                raise MissingFileError(f"{files.path} holds no {name}")
            file = files.open_ranges(name)
            while offset < file.size_bytes:
                yield (part := file.read(offset, _PART_BYTES))
                offset += len(part)
        except (FileNotFoundError, RefusedFileError) as error:
            raise MissingFileError(str(error)) from None
        except ConnectionError as error:  # after all attempts of obstore
            raise RetryableError(str(error), gained=True) if offset > start else error from None
        except OSError as error:
            self._listed.cache_clear()
            raise ReplacedFileError(str(error)) from None

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
        try:
            with service_errors(url), self._answer(url) as answer:
                yield from answer.iter_content(_PIECE_BYTES)  # which compares the bytes with Content-Length
        except (RetryableError, RefusedFileRequestError):
            raise
        except ConnectionError as error:
            raise RetryableError(str(error)) from None

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
                require_ok(url, answer)
                yield answer
                return
        raise RefusedFileRequestError(
            f"{shown(url)}: the server must send the file after at most {_MOST_REDIRECTS} redirects"
        )

    @property
    def _session(self) -> requests.Session:
        """The session of this thread."""
        if not hasattr(self._threads, "session"):
            self._threads.session = self._make()
        session: requests.Session = self._threads.session
        return session

    def _is_own(self, address: str) -> bool:
        """Whether an address is of the service itself, or of another server of the Copernicus Data Space."""
        parts, own = urlsplit(address), self._service.hostname or ""
        host = parts.hostname or ""
        is_own = host == own or (own.endswith(_DOMAIN) and host.endswith(_DOMAIN))
        return is_own and parts.scheme in (self._service.scheme, "https")


def require_ok(url: str, answer: requests.Response) -> None:
    """Raise an error unless an answer holds a file.

    Raises:
        MissingFileError: the file is not there.
        RetryableError: the server is busy or broken.
        ConnectionError: it refuses.
    """
    status = answer.status_code
    if status in (requests.codes.not_found, requests.codes.gone):
        raise MissingFileError(f"{shown(url)} is not there (status {status})")
    if status in RETRIED:
        raise RetryableError(f"{shown(url)}: the server is busy or broken (status {status})", _asked_s(answer))
    if status in (requests.codes.unauthorized, requests.codes.forbidden):
        raise RefusedFileRequestError(
            f"{shown(url)}: the server refuses it (status {status}); may this account read it?"
        )
    if status != requests.codes.ok:
        raise RefusedFileRequestError(f"{shown(url)}: the server answers with status {status}")


def _asked_s(answer: requests.Response) -> float:
    """Seconds for which the server asks to wait, at most a minute."""
    asked = Retry().get_retry_after(answer.raw) if "Retry-After" in answer.headers else None
    return min(asked or 0.0, LONGEST_PAUSE_S)
