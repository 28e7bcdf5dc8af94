"""Access tokens of the one account of a data space: random words that are remembered until they expire.

Source: https://documentation.dataspace.copernicus.eu/APIs/Token.html
"""

import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["TokenIssuer"]


class TokenIssuer:
    """Issues and checks tokens; a refresh token lives six times as long as an access token."""

    def __init__(self, username: str, password: str, token_s: float) -> None:
        """`token_s` is the lifetime of access tokens."""
        self.username, self.password, self.token_s = username, password, token_s
        self._access: dict[str, float] = {}
        self._refresh: dict[str, float] = {}
        self._lock = threading.Lock()

    def issue(self, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
        """Status and answer to a form that asks for a token by password or by refresh token."""
        grant = form.get("grant_type")
        if form.get("client_id") != "cdse-public":
            return 401, {"error": "invalid_client", "error_description": "Invalid client or Invalid client credentials"}
        if grant not in ("password", "refresh_token"):
            return 400, {"error": "unsupported_grant_type", "error_description": "Unsupported grant_type"}
        account = form.get("username"), form.get("password")
        if grant == "password" and account != (self.username, self.password):
            return 401, {"error": "invalid_grant", "error_description": "Invalid user credentials"}
        now, refresh_s = time.monotonic(), 6 * self.token_s
        with self._lock:
            if grant == "refresh_token" and self._refresh.get(form.get("refresh_token", ""), 0) <= now:
                return 400, {"error": "invalid_grant", "error_description": "Token is not active"}
            access, refresh = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
            self._access[access], self._refresh[refresh] = now + self.token_s, now + refresh_s
        return 200, {
            "access_token": access,
            "expires_in": int(self.token_s),
            "refresh_token": refresh,
            "refresh_expires_in": int(refresh_s),
            "token_type": "Bearer",
        }

    def expire(self, refresh_tokens: bool) -> None:
        """Make all access tokens invalid, refresh tokens too if wanted."""
        with self._lock:
            self._access.clear()
            if refresh_tokens:
                self._refresh.clear()

    def is_valid(self, authorization: str) -> bool:
        """Whether the header of a request names an access token that has not expired."""
        scheme, _, token = authorization.partition(" ")
        with self._lock:
            return scheme == "Bearer" and self._access.get(token, 0) > time.monotonic()
