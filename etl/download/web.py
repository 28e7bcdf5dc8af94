"""HTTP requests to a data service: repeated where that can help, and errors that hold no secret.

A request that is answered with 429, 503 or the like is repeated after the time that the server asks for in
`Retry-After`, else after pauses that double. For catalogues and tokens urllib3 does that; for files, which take longer,
`etl.download.fetch` does, so that it can be interrupted.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

__all__ = [
    "LONGEST_PAUSE_S",
    "RETRIED",
    "TIMEOUTS_S",
    "RefusedRequestError",
    "RetryableError",
    "get_json",
    "json_object",
    "new_session",
    "read_whole",
    "require_answer",
    "service_errors",
    "shown",
]

TIMEOUTS_S = (10, 60)
"""Most seconds until a server takes a connection, and between two pieces of its answer."""

LONGEST_PAUSE_S = 60
"""Most seconds before a request is repeated, also if the server asks for more."""

RETRIED = (408, 429, 500, 502, 503, 504)
"""Statuses of answers after which a request is repeated."""

_MOST_JSON_BYTES = 64 << 20


class RetryableError(ConnectionError):
    """A request failed in a way that can pass: the server is busy, or its answer broke off."""

    def __init__(self, message: str, after_s: float = 0.0, gained: bool = False) -> None:
        self.after_s = after_s
        """Seconds for which the server asks to wait."""
        self.gained = gained
        """Whether some bytes had arrived that need not be fetched again."""
        super().__init__(message)


class RefusedRequestError(ValueError):
    """A server answers a request with a refusal that no repetition changes."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{shown(url)}: the server answers with status {status}")


class _Session(requests.Session):
    """A session that never sends what a `.netrc` holds: `requests` would, to any server that a redirect names."""

    def __init__(self) -> None:
        super().__init__()
        self.auth = _no_netrc

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Take the header with a token off a request that is redirected to another server."""
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            prepared_request.headers.pop("Authorization", None)


def new_session(attempts: int) -> requests.Session:
    """A session that tries each request up to `attempts` times; for one thread."""
    session = _Session()
    retries = Retry(
        total=attempts - 1,
        status_forcelist=RETRIED,
        allowed_methods=None,
        backoff_factor=0.5,
        backoff_max=LONGEST_PAUSE_S,
        backoff_jitter=0.2,
        retry_after_max=LONGEST_PAUSE_S,
        raise_on_status=False,
        redirect=0,
    )
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    return session


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def shown(url: str) -> str:
    """An address as messages show it: without a query, which can be long."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


@contextmanager
def service_errors(url: str) -> Iterator[None]:
    """Raise errors of `requests` as ConnectionError: a later run can succeed.

    Raises:
        ConnectionError: the server cannot be reached, or its answer broke off.
    """
    try:
        yield
    except requests.RequestException as error:
        raise ConnectionError(f"{shown(url)}: the server does not answer as it should ({_reason(error)})") from None


def _reason(error: requests.RequestException) -> str:
    cause = error.args[0] if error.args else error
    inner = getattr(cause, "reason", None) or cause
    return f"{type(error).__name__}: {str(inner).splitlines()[0][:200] if str(inner) else ''}".rstrip(": ")


def read_whole(answer: requests.Response, most: int) -> bytes:
    """The body of an answer, of at most `most` bytes.

    Raises:
        ConnectionError: it has more.
        requests.RequestException: it broke off.
    """
    text = b""
    for piece in answer.iter_content(1 << 20):
        text += piece
        if len(text) > most:
            raise ConnectionError(f"{shown(answer.url)}: the answer must have at most {most} bytes")
    return text


def get_json(session: requests.Session, url: str, parameters: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The JSON object at an address.

    Raises:
        ConnectionError: the server does not answer, or not with a JSON object.
        RefusedRequestError: it refuses the request.
    """
    with service_errors(url), session.get(url, params=parameters, timeout=TIMEOUTS_S, stream=True) as answer:
        require_answer(url, answer.status_code)
        if answer.status_code != requests.codes.ok:
            raise RefusedRequestError(url, answer.status_code)
        text = read_whole(answer, _MOST_JSON_BYTES)
    return json_object(url, text)


def json_object(url: str, text: bytes) -> dict[str, Any]:
    """The JSON object in an answer.

    Raises:
        ConnectionError: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):  # not shown: the answer of a token server can hold a token
        raise ConnectionError(f"{shown(url)}: the server must answer with a JSON object, got {len(text)} other bytes")
    return value


def require_answer(url: str, status: int) -> None:
    """Raise a ConnectionError if the server is busy or broken, after all attempts."""
    if status in RETRIED:
        raise ConnectionError(f"{shown(url)}: the server is busy or broken (status {status})")
