"""Records of files as Zenodo serves them: a description in JSON, and the files, by ranges.

Source: https://developers.zenodo.org, records; RFC 9110, sections 13.1.5 and 14.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

__all__ = ["Records"]


class Records:
    """Files by record and name; each record is described with the checksums of its files, unless a test sets others."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, bytes]] = {}
        self.checksums: dict[str, str] = {}
        """What is published instead of the right checksum, by name of the file."""
        self.has_ranges = True
        self.has_etags = True
        self.asked: list[tuple[str, str, str]] = []
        """Name, Range and If-Range of each request for a file."""

    def describe(self, number: str, url: str) -> tuple[int, dict[str, Any]]:
        """Status and answer for a record, at a service whose root is `url`."""
        if number not in self.files:
            return 404, {"status": 404, "message": "The persistent identifier does not exist."}
        entries = [
            {
                "key": name,
                "size": len(data),
                "checksum": self.checksums.get(name, f"md5:{hashlib.md5(data).hexdigest()}"),
                "links": {"self": f"{url}/records/{number}/files/{quote(name)}/content"},
            }
            for name, data in self.files[number].items()
        ]
        return 200, {"id": int(number), "files": entries}

    def file(self, number: str, name: str, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers of the answer to a request for a file."""
        data = self.files.get(number, {}).get(name)
        if data is None:
            return 404, b"", {}
        wanted, condition = headers.get("Range") or "", headers.get("If-Range") or ""
        self.asked.append((name, wanted, condition))
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        answer = {"Content-Type": "application/octet-stream", **({"ETag": etag} if self.has_etags else {})}
        span = re.fullmatch(r"bytes=(\d+)-", wanted)
        if not span or not self.has_ranges or condition not in ("", etag):
            return 200, data, answer
        start = int(span[1])
        if start >= len(data):
            return 416, b"", {**answer, "Content-Range": f"bytes */{len(data)}"}
        return 206, data[start:], {**answer, "Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
