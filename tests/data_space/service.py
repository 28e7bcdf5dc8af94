"""Data services in this process: the Copernicus Data Space, with OData catalogue, files of products and tokens, and
records at Zenodo; with faults on demand.

Sources: https://documentation.dataspace.copernicus.eu/APIs/OData.html and .../APIs/Token.html
"""

import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, parse_qsl, quote, unquote, urlencode, urlsplit

from data_space.catalogue import node_list, query_answer
from data_space.odata_filter import QueryError
from data_space.products import ServedProduct
from data_space.records import Records
from data_space.tokens import TokenIssuer

__all__ = ["DataSpace", "Fault", "ServedRequest"]

_TOKEN_PATH = "/auth/realms/CDSE/protocol/openid-connect/token"
_PIECE_BYTES = 1 << 16


class ServedRequest(NamedTuple):
    """A request as a test sees it, from the moment before the last piece of its answer goes out."""

    method: str
    path: str
    """Without the query, percent-decoded."""
    status: int
    """0 where the connection was closed without an answer."""
    sent: int
    """Bytes of the body."""
    token: bool
    """Whether it came with a token, a valid one or not."""
    query: str
    """Percent-decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with one request; several of these may."""

    status: int = 0
    """Answer this status at once, or this redirect."""
    retry_after: str = ""
    """Header of that answer: seconds or an HTTP date."""
    redirect: str = ""
    """Answer 302, or `status`, with this location."""
    cut_after: int | None = None
    """Close the connection after so many bytes of the body, whose length is announced in full."""
    wrong_length: int = 0
    """Added to the length that is announced; the connection is closed after the body."""
    corrupt: bool = False
    """Flip a byte in the middle of the body."""
    delay_s: float = 0
    """Wait before the answer."""
    throttle_bytes_s: int = 0
    """Send the body at this speed."""
    drop: bool = False
    """Close the connection without an answer."""
    expire_token_after: int | None = None
    """Close the connection after so many bytes of the body, and expire all access tokens."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class DataSpace(ThreadingHTTPServer):
    """Products on a port of this machine. Used in a `with` statement."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        products: Iterable[ServedProduct],
        username: str = "reader@example.org",
        password: str = "pass word+&%=",  # which a form has to encode
        token_s: float = 600,
    ) -> None:
        """`token_s` is the lifetime of access tokens."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.products = {product.uuid: product for product in products}
        self.tokens = TokenIssuer(username, password, token_s)
        self.fault: Callable[[str, int], Fault | None] = lambda path, earlier: None
        """Called with a request's path and the number of earlier requests for it, in the thread of the request."""
        self.records = Records()
        """Records of files, as at Zenodo."""
        self.lock = threading.Lock()
        self.requests: list[ServedRequest] = []
        self.connections = 0
        """Requests for files now being served."""
        self.most_connections = 0
        self._asked: Counter[str] = Counter()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server_port

    @property
    def odata_url(self) -> str:
        """Root of the catalogue."""
        return f"http://127.0.0.1:{self.port}/odata/v1"

    @property
    def download_url(self) -> str:
        """Root of the files, here the same as that of the catalogue."""
        return self.odata_url

    @property
    def zenodo_url(self) -> str:
        """Root of the records."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def token_url(self) -> str:
        """Where accounts get tokens."""
        return f"http://127.0.0.1:{self.port}{_TOKEN_PATH}"

    def expire_tokens(self, refresh_tokens: bool = False) -> None:
        """Make all access tokens invalid, refresh tokens too if wanted."""
        self.tokens.expire(refresh_tokens)

    def __enter__(self) -> "DataSpace":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Report errors of this server; a client that closed its connection is none."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def begin(self, path: str, file: bool) -> int:
        """Count a request; the number of earlier ones for the same path."""
        with self.lock:
            earlier = self._asked[path]
            self._asked[path] += 1
            self.connections += file
            self.most_connections = max(self.most_connections, self.connections)
        return earlier

    def finish(self, request: ServedRequest, file: bool) -> None:
        """Record a request that has been served."""
        with self.lock:
            self.requests.append(request)
            self.connections -= file


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = _PIECE_BYTES  # one packet for head and body
    server: DataSpace

    def log_message(self, *_: object) -> None:
        """Write nothing."""

    def _serve(self) -> None:
        form = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        parts = urlsplit(self.path)
        path, file = unquote(parts.path), parts.path.endswith(("/$value", "/content"))
        earlier = self.server.begin(path, file)
        status = sent = 0
        last = b""
        try:
            fault = self.server.fault(path, earlier) or Fault()
            time.sleep(fault.delay_s)
            if fault.drop:
                self.close_connection = True
                return
            answer = self._refusal(fault) or self._route(form)
            status = answer.status
            *pieces, last = self._begin(answer, fault)
            for piece in pieces:
                self._pause(piece, fault)
                self.wfile.write(piece)
                self.wfile.flush()
                sent += len(piece)
            self._pause(last, fault)
            sent += len(last)
            if fault.expire_token_after is not None:
                self.server.expire_tokens()
        finally:
            # Before the last piece, after which a client may ask for the next file or a test for the requests.
            token = "Authorization" in self.headers
            query = unquote(parts.query.replace("+", " "))
            self.server.finish(ServedRequest(self.command, path, status, sent, token, query), file)
        self.wfile.write(last)

    do_GET = do_POST = _serve

    def _refusal(self, fault: Fault) -> _Answer | None:
        headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
        if fault.redirect:
            return _Answer(fault.status or 302, b"", {**headers, "Location": fault.redirect})
        return _failure(fault.status, "As the test demands", headers) if fault.status else None

    def _begin(self, answer: _Answer, fault: Fault) -> list[bytes]:
        """Send the head of an answer; the pieces of its body that are to follow, at least one."""
        body = answer.body
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) + fault.wrong_length))
        self.end_headers()
        if fault.corrupt and body:
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
        ends = [end for end in (fault.cut_after, fault.expire_token_after) if end is not None]
        body = body[: min(ends, default=len(body))]
        self.close_connection |= bool(ends or fault.wrong_length)
        step = max(1, min(_PIECE_BYTES, fault.throttle_bytes_s // 20 or _PIECE_BYTES))
        return [body[start : start + step] for start in range(0, len(body), step)] or [b""]

    def _pause(self, piece: bytes, fault: Fault) -> None:
        if fault.throttle_bytes_s:
            time.sleep(len(piece) / fault.throttle_bytes_s)

    def _route(self, form: str) -> _Answer:
        parts = urlsplit(self.path)
        if self.command == "POST" and parts.path == _TOKEN_PATH:
            return _json(*self.server.tokens.issue({name: values[0] for name, values in parse_qs(form).items()}))
        match [self.command, *map(unquote, parts.path.split("/")[1:])]:
            case ["GET", "odata", "v1", ("Products" | "DeletedProducts") as kind]:
                return self._query(kind, dict(parse_qsl(parts.query, keep_blank_values=True)))
            case ["GET", "odata", "v1", product, *nodes, "$value"]:
                return self._file(product, nodes)
            case ["GET", "odata", "v1", product, *nodes, "Nodes"]:
                return self._nodes(product, nodes)
            case ["GET", "api", "records", number]:
                return _json(*self.server.records.describe(number, self.server.zenodo_url))
            case ["GET", "api", "records", number, "files", name, "content"]:
                return _Answer(*self.server.records.file(number, name, self.headers))
        return _failure(404, f"{self.command} {parts.path} is not served")

    def _query(self, kind: str, options: dict[str, str]) -> _Answer:
        try:
            answer, following = query_answer(kind, self.server.products.values(), options)
        except QueryError as error:
            return _failure(error.status, str(error))
        if following is not None:
            query = urlencode({**options, "$skip": following})
            answer["@odata.nextLink"] = f"{self.server.odata_url}/{kind}?{query}"
        return _json(200, answer)

    def _file(self, key: str, nodes: list[str]) -> _Answer:
        if "Authorization" not in self.headers:
            return _failure(401, "Not authenticated")
        if not self.server.tokens.is_valid(self.headers["Authorization"]):
            return _failure(401, "Expired signature!")
        product, (folder, *names) = self._product(key), [_inner(node, "Nodes") for node in nodes] or [""]
        path = "/".join(names)
        if product is None or not product.online or folder != product.folder or path not in product.files:
            return _failure(404, f"{key} has no file {path}, or is not online")
        return _Answer(200, product.read(path), {"Content-Type": "application/octet-stream"})

    def _nodes(self, key: str, nodes: list[str]) -> _Answer:
        product = self._product(key)
        children = node_list(product, [_inner(node, "Nodes") for node in nodes]) if product else []
        here = "/".join([self.server.download_url, key, *(quote(node, safe="()") for node in nodes)])
        for child in children:
            child["Nodes"] = {"uri": f"{here}/Nodes({quote(child['Name'])})/Nodes"}
        return _json(200, {"result": children}) if children else _failure(404, f"{key} has no such folder")

    def _product(self, key: str) -> ServedProduct | None:
        product = self.server.products.get(_inner(key, "Products"))
        return None if product is None or product.deleted else product


def _inner(text: str, kind: str) -> str:
    """`NAME` of `Nodes(NAME)`; empty where the text is something else."""
    return text[len(kind) + 1 : -1] if text.startswith(f"{kind}(") and text.endswith(")") else ""


def _json(status: int, value: dict[str, Any]) -> _Answer:
    return _Answer(status, json.dumps(value).encode())


def _failure(status: int, message: str, headers: dict[str, str] | None = None) -> _Answer:
    answer = _json(status, {"detail": {"message": message}})
    return _Answer(status, answer.body, headers or {})
