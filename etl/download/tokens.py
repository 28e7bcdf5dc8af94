"""Credentials of a data service: its S3 keys; and access tokens, which are renewed before and when they expire.

S3 keys come from `CDSE_ACCESS_KEY_ID` and `CDSE_SECRET_ACCESS_KEY`, beside which `AWS_*` are those of other buckets.

Name and password come from `CDSE_USERNAME` and `CDSE_PASSWORD`, else from the user's `.netrc`, by the host that gives
the tokens. They go into the body of requests to that host, never into an address, a message or a record.

Source: RFC 6749, sections 4.3 and 6; Copernicus Data Space Ecosystem, documentation of access tokens.
"""

import netrc
import os
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests

from etl.aws import S3Server, is_unsigned
from etl.download.web import TIMEOUTS_S, json_object, read_whole, require_answer, service_errors, shown

__all__ = ["AccessTokens", "Account", "account_for", "service_server"]

_CLIENT = "cdse-public"
"""Public client of the service, which has no secret of its own."""

_EARLY_S = 30.0
"""Most seconds before its end at which a token is renewed."""

_MOST_BYTES = 1 << 20


class Account(NamedTuple):
    """Name and password of a user; neither is shown."""

    name: str
    """Name of the user, mostly a mail address."""

    password: str
    """Password."""

    def __repr__(self) -> str:
        return "Account(...)"


def account_for(token_url: str) -> Account:
    """The user's account at the server that gives tokens.

    Raises:
        ValueError: none is given, or the file with it cannot be read.
    """
    name, password = os.environ.get("CDSE_USERNAME", ""), os.environ.get("CDSE_PASSWORD", "")
    if name and password:
        return Account(name, password)
    host, path = urlsplit(token_url).hostname or "", Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    found, is_usable = None, True
    try:
        if path.is_file():
            found, is_usable = netrc.netrc(path).authenticators(host), not path.stat().st_mode & 0o077
    except (OSError, netrc.NetrcParseError):  # whose message can hold a part of the file
        is_usable = False
    if not is_usable:
        raise ValueError(f"{path} must be a file of logins that only its owner may read (chmod 600)")
    if found is None:
        raise ValueError(
            f"--transfer http needs an account: set CDSE_USERNAME and CDSE_PASSWORD, or name {host} in {path}"
        )
    return Account(found[0], found[2] or "")


def service_server(url: str, into_bucket: bool) -> S3Server | None:
    """The service's server of files over S3 with keys of its own; None if there are none, so that `AWS_*` count.

    `url`: its address; `into_bucket`: whether products are put into a bucket, whose keys `AWS_*` are.

    Raises:
        ValueError: keys lack a part, or `AWS_*` cannot count.
    """
    names = ("CDSE_ACCESS_KEY_ID", "CDSE_SECRET_ACCESS_KEY", "CDSE_SESSION_TOKEN")
    key_id, secret, token = (os.environ.get(name, "") for name in names)
    if key_id and secret:
        return S3Server(url, key_id, secret, token)
    if key_id or secret:
        raise ValueError("CDSE_ACCESS_KEY_ID and CDSE_SECRET_ACCESS_KEY must be set together, and one is missing")
    if is_unsigned("CDSE_NO_SIGN_REQUEST"):
        return S3Server(url)
    if into_bucket:
        raise ValueError(
            "--transfer s3 into a bucket needs keys of both servers: AWS_* are those of --out; for the service set "
            "CDSE_ACCESS_KEY_ID and CDSE_SECRET_ACCESS_KEY, or CDSE_NO_SIGN_REQUEST=YES"
        )
    return None


class AccessTokens:
    """The token of this process, for all of its threads."""

    def __init__(self, session: requests.Session, url: str, account: Account) -> None:
        """Args: by which tokens are asked for; address that gives tokens; whose they are."""
        self._session, self._url, self._account = session, url, account
        self._lock = threading.Lock()
        self._token, self._expires, self._early_s = "", 0.0, 0.0
        self._refresh_token, self._refresh_expires = "", 0.0

    def current(self) -> str:
        """A token that has not expired.

        Raises:
            ConnectionError: the server does not answer.
            ValueError: it does not take name and password.
        """
        with self._lock:
            if time.monotonic() >= self._expires - self._early_s:
                self._ask()
            return self._token

    def replace(self, rejected: str) -> None:
        """Make sure that `current` no longer gives a token that a server has rejected."""
        with self._lock:
            if self._token == rejected:
                self._expires = 0.0

    def _ask(self) -> None:
        """Get a token: by the one for refreshing while that is valid, else by name and password."""
        refresh = {"grant_type": "refresh_token", "refresh_token": self._refresh_token}
        if self._refresh_token and time.monotonic() < self._refresh_expires and self._post(refresh) is None:
            return
        refused = self._post(
            {"grant_type": "password", "username": self._account.name, "password": self._account.password}
        )
        if refused is not None:
            raise ValueError(
                f"{shown(self._url)}: the server gives no token (status {refused}); check CDSE_USERNAME and "
                "CDSE_PASSWORD, or the entry in .netrc"
            )

    def _post(self, fields: dict[str, str]) -> int | None:
        """Ask for a token and keep it; the HTTP status if the server refuses."""
        start = time.monotonic()
        with service_errors(self._url):
            data = {"client_id": _CLIENT, **fields}
            with self._session.post(
                self._url, data=data, timeout=TIMEOUTS_S, stream=True, allow_redirects=False
            ) as answer:
                require_answer(self._url, answer.status_code)
                if answer.status_code != requests.codes.ok:
                    return answer.status_code
                text = read_whole(answer, _MOST_BYTES)
        self._keep(json_object(self._url, text), start)
        return None

    def _keep(self, answer: dict[str, Any], start: float) -> None:
        token = answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ConnectionError(f"{shown(self._url)}: the server must answer with an access_token")
        lasts_s, refresh_s = _seconds(answer.get("expires_in")), _seconds(answer.get("refresh_expires_in"))
        self._token, self._expires = token, start + lasts_s
        self._early_s = min(_EARLY_S, lasts_s / 10)
        self._refresh_token, self._refresh_expires = str(answer.get("refresh_token") or ""), start + refresh_s


def _seconds(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else 0.0
