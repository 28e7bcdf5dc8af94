"""HTTP requests to a data service: tried again where that can help, and errors that hold no secret.

A request that is answered with 429, 503 or the like is sent again after the time that the server asks for in
`Retry-After`, else after 0.5 s, 1 s, 2 s and so on. `requests` and `urllib3` do that.
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
    "TIMEOUTS_S",
    "BrokenOffError",
    "RefusedRequestError",
    "get_json",
    "new_session",
    "read_whole",
    "service_errors",
    "shown",
]

TIMEOUTS_S = (10, 60)
"""Most seconds until a server takes a connection, and between two pieces of its answer."""

_LONGEST_PAUSE_S, _LONGEST_ASKED_S = 60, 600

_RETRIED = (429, 500, 502, 503, 504)

_MOST_JSON_BYTES = 64 << 20


class BrokenOffError(ConnectionError):
    """An answer that had begun broke off."""


class RefusedRequestError(Exception):
    """A server answers a request with a refusal that no repetition changes."""

    def __init__(self, url: str, status: int) -> None:
        self.status = status
        """HTTP status."""
        super().__init__(f"{shown(url)}: the server answers with status {status}")


def new_session(attempts: int) -> requests.Session:
    """A session that tries each request up to `attempts` times; for one thread."""
    session = requests.Session()
    session.trust_env = True  # proxies
    session.auth = _no_netrc  # which `requests` would send to any server that a redirect names
    retries = Retry(
        total=attempts - 1,
        status_forcelist=_RETRIED,
        allowed_methods=None,
        backoff_factor=0.5,
        backoff_max=_LONGEST_PAUSE_S,
        backoff_jitter=0.2,
        retry_after_max=_LONGEST_ASKED_S,
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
        if answer.status_code != requests.codes.ok:
            raise RefusedRequestError(url, answer.status_code)
        text = read_whole(answer, _MOST_JSON_BYTES)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ConnectionError(f"{shown(url)}: the server must answer with a JSON object, got {text[:60]!r}")
    return value
