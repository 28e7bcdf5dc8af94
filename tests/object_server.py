"""A small S3 server in this process: it can hold each request, ignore conditions, and count what it is asked.

All buckets show the same objects, so that the name of the bucket tells which of several runs sent a request.
"""

import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

__all__ = ["ObjectServer", "Request"]


class Request(NamedTuple):
    """A request as a test sees it."""

    run: str
    """Name of the bucket."""
    method: str
    key: str
    changed: bool
    """Whether it put or removed an object."""
    returned: bool
    """Whether the object then had bytes that it has had before, and so an ETag for which an earlier run may wait."""
    sent: int
    """Bytes of the answer."""
    key_id: str
    """Name of the key that signed it; empty if none did."""
    token: str
    """Session token; empty if it has none."""


class ObjectServer(ThreadingHTTPServer):
    """Objects in memory; an ETag is the MD5 digest of the bytes, as in S3. Used in a `with` statement."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, before: Callable[[str, str, str], None] = lambda run, method, key: None) -> None:
        """`before` is called with bucket, method and key before each request is served, in a thread of its own."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.before = before
        self.objects: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        """User metadata of objects that were put with some, as headers."""
        self.uploads: dict[str, dict[int, bytes]] = {}
        """Parts of multipart uploads that are neither complete nor aborted."""
        self.honours_conditions = True
        self.requests: list[Request] = []
        self.etags: dict[str, set[str]] = {}
        """All that each object has had."""
        self.lock = threading.Lock()
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
            "AWS_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "2",
        }

    def __enter__(self) -> "ObjectServer":
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed: nothing to report."""


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'  # as S3 does


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # one packet for head and body
    server: ObjectServer

    def log_message(self, *_: object) -> None:
        """Write nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        run, _, key = unquote(parts.path).lstrip("/").partition("/")
        self.server.before(run, self.command, key)
        with self.server.lock:
            before = self.server.objects.get(key)
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            status, headers, answer = self._serve(key, body, query)
            after = self.server.objects.get(key)
            known = self.server.etags.setdefault(key, set())
            returned = self.command == "PUT" and status == 200 and _etag(after or b"") in known
            known |= {_etag(data) for data in (before, after) if data is not None}
            key_id = (self.headers.get("Authorization") or "").partition("Credential=")[2].partition("/")[0]
            change = (after != before, returned, len(answer), key_id, self.headers.get("x-amz-security-token") or "")
            self.server.requests.append(Request(run, self.command, key, *change))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def _serve(self, key: str, body: bytes, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        objects = self.server.objects
        if not key:
            return (
                200,
                {"Content-Type": "application/xml"},
                self._list(query.get("prefix", ""), query.get("delimiter", "")),
            )
        if "uploads" in query or "uploadId" in query:
            return self._upload(key, body, query)
        old = objects.get(key)
        if self.command == "PUT":
            if self.server.honours_conditions and not self._may_put(old):
                return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
            objects[key], self.server.metadata[key] = body, self._metadata()
            return 200, {"ETag": _etag(body)}, b""
        if self.command == "DELETE":
            objects.pop(key, None)
            return 204, {}, b""
        if old is None:
            return 404, {}, b"<Error><Code>NoSuchKey</Code></Error>"
        headers = {"ETag": _etag(old), "Last-Modified": "Mon, 30 Nov 2026 00:00:00 GMT"}
        headers |= self.server.metadata.get(key, {})
        if self.headers.get("If-Match") not in (None, _etag(old)):
            return 412, {}, b"<Error><Code>PreconditionFailed</Code></Error>"
        kind, _, span = (self.headers.get("Range") or "").partition("=")
        if kind != "bytes" or self.command == "HEAD":
            return 200, headers, old
        first, _, last = span.partition("-")
        start = int(first) if first else max(0, len(old) - int(last))
        stop = min(len(old), int(last) + 1) if first and last else len(old)
        return 206, {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{len(old)}"}, old[start:stop]

    def _metadata(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}

    def _upload(self, key: str, body: bytes, query: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """A request of a multipart upload: begin, part, complete or abort."""
        uploads = self.server.uploads
        if "uploads" in query:
            name = f"{key}#{len(self.server.requests)}"
            uploads[name], self.server.metadata[name] = {}, self._metadata()
            kind = "InitiateMultipartUploadResult"
            answer = f"<{kind}><UploadId>{escape(name)}</UploadId></{kind}>"
            return 200, {"Content-Type": "application/xml"}, answer.encode()
        name = query["uploadId"]
        if name not in uploads:
            return 404, {}, b"<Error><Code>NoSuchUpload</Code></Error>"
        if self.command == "PUT":
            uploads[name][int(query["partNumber"])] = body
            return 200, {"ETag": _etag(body)}, b""
        parts, metadata = uploads.pop(name), self.server.metadata.pop(name)
        if self.command == "DELETE":
            return 204, {}, b""
        data = b"".join(parts[number] for number in sorted(parts))
        self.server.objects[key], self.server.metadata[key] = data, metadata
        answer = f"<CompleteMultipartUploadResult><ETag>{escape(_etag(data))}</ETag></CompleteMultipartUploadResult>"
        return 200, {"Content-Type": "application/xml"}, answer.encode()

    def _may_put(self, old: bytes | None) -> bool:
        wanted = self.headers.get("If-Match")
        if wanted is not None and (old is None or wanted != _etag(old)):
            return False
        return self.headers.get("If-None-Match") != "*" or old is None

    def _list(self, prefix: str, delimiter: str) -> bytes:
        found = {key: data for key, data in sorted(self.server.objects.items()) if key.startswith(prefix)}
        inner = {key: key.removeprefix(prefix).partition(delimiter) for key in found if delimiter}
        folders = dict.fromkeys(f"{prefix}{first}{mark}" for first, mark, _ in inner.values() if mark)
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(data)}</Size><ETag>{escape(_etag(data))}</ETag>"
            "<LastModified>2026-11-30T00:00:00.000Z</LastModified></Contents>"
            for key, data in found.items()
            if not (delimiter and inner[key][1])
        )
        items += "".join(f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in folders)
        head = '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
        return f"{head}<IsTruncated>false</IsTruncated>{items}</ListBucketResult>".encode()
