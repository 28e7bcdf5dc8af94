"""Where products are fetched to, in a bucket: each file is put whole once it is checked, the manifest last.

    s3://BUCKET/PREFIX/NAME.SAFE/   files of a product; without MTD_MSIL2A.xml and manifest.safe while it is unfinished
    CACHE/download/HASH/            the folder of unfinished products, on this machine: files that are not put yet, and
                                    locks; HASH: of server, bucket and prefix

A bucket cannot continue or rename a file. So a file is gathered on this machine, where it can be continued, compared
with the manifest, put by one request or in parts, and removed here. An object that is put holds its checksum as user
metadata, `x-amz-meta-verified: SHA3-256 DIGEST BYTES`. It counts as there if this is what the manifest says, and BYTES
is its size in the listing: what came another way is fetched and put again.

No command takes an unfinished product for a whole one, as none can be read without MTD_MSIL2A.xml.

Source: Amazon S3 API Reference, PutObject and CompleteMultipartUpload: an object is there whole or not at all.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from etl.aws import endpoint
from etl.bucket_files import BucketFiles, object_metadata, put_object
from etl.download.target import RECORD, Target
from etl.files import remove_path, user_cache
from etl.input_files import MOST_METADATA_BYTES
from etl.safe_manifest import MANIFEST, ListedFile

__all__ = ["BucketTarget"]

_VERIFIED = "verified"
"""Name of the user metadata."""

_LAST = "MTD_MSIL2A.xml"
"""File that is put once all others but the manifest are there."""

_SETTLE_S = 10.0
"""Most seconds in which uploads are withdrawn as the run ends; batch systems kill half a minute after they warn."""

_REQUESTS_AT_ONCE = 16
"""Requests for the user metadata of a product's files."""


class BucketTarget(Target):
    """A prefix of a bucket that products are fetched into."""

    def __init__(self, out: Path, connections: int) -> None:
        """Args: `s3:/BUCKET/PREFIX`; how many connections all runs of this machine into it have together.

        Raises:
            ValueError: settings of the bucket's server cannot be used.
        """
        name = "\n".join((endpoint(), *out.parts[1:]))
        state = user_cache("download") / hashlib.sha256(name.encode()).hexdigest()[:32]
        # twice: files are put while others are fetched
        super().__init__(state, connections, 2 * connections)
        self._out = out
        self._puts, self._put_ended = 0, threading.Condition()

    def make(self) -> None:
        """As of `Target`."""
        try:
            super().make()
        except OSError as error:
            advice = "set XDG_CACHE_HOME to a folder with space for the files that are fetched at the same time"
            raise OSError(f"{self.state} must be a folder that can be written: {error.strerror}; {advice}") from None

    def _place(self, stem: str) -> Path:
        return self._out / f"{stem}.SAFE"

    def _listed(self, stem: str) -> BucketFiles:
        try:
            return BucketFiles(self._place(stem))
        except FileNotFoundError as error:
            raise ValueError(f"--out {error}") from None

    def manifest(self, stem: str) -> bytes | None:
        """As of `Target`; by up to two requests."""
        files = self._listed(stem)
        return files.read(MANIFEST, MOST_METADATA_BYTES) if MANIFEST in files.names else None

    def missing(self, stem: str, files: Sequence[ListedFile]) -> list[ListedFile]:
        """As of `Target`; by one request, and one for each of the files that has an object."""
        listing = self._listed(stem)
        names = set(listing.names)
        held = [one for one in files if one.name in names]
        with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as pool:
            metadata = list(pool.map(lambda one: object_metadata(self._place(stem) / one.name), held))
        verified = {
            one.name
            for one, found in zip(held, metadata, strict=True)
            if found.get(_VERIFIED) == _mark(one, listing.stat(one.name).size_bytes)
        }
        return [one for one in files if one.name not in verified]

    def deliver(self, stem: str, listed: ListedFile, is_stopping: Callable[[], bool]) -> None:
        """As of `Target`."""
        if listed.name != _LAST:
            self._put(stem, listed, is_stopping)

    def _put(self, stem: str, listed: ListedFile, is_stopping: Callable[[], bool] = lambda: False) -> None:
        path = self.unfinished(stem) / listed.name
        metadata = {_VERIFIED: _mark(listed, path.stat().st_size)}
        with self._put_ended:
            self._puts += 1
        try:
            put_object(self._place(stem) / listed.name, path, metadata, is_stopping)
            path.unlink()
        finally:
            with self._put_ended:
                self._puts -= 1
                self._put_ended.notify_all()

    def settle(self) -> None:
        """As of `Target`: an upload that nobody withdraws would leave its parts in the bucket."""
        with self._put_ended:
            self._put_ended.wait_for(lambda: not self._puts, _SETTLE_S)

    def finish(self, stem: str, files: Sequence[ListedFile]) -> None:
        """As of `Target`."""
        here = self.unfinished(stem)
        manifest = here / MANIFEST
        for one in files:
            if one.name == _LAST and (here / one.name).is_file():
                self._put(stem, one)
        for path in here.iterdir():  # such as beginnings of files that an earlier run was asked for
            if path != manifest:
                remove_path(path)
        if manifest.is_file():
            put_object(self._place(stem) / MANIFEST, manifest, {})
        remove_path(here)

    def write_record(self, text: str) -> None:
        """As of `Target`."""
        put_object(self._out / RECORD, text.encode(), {})


def _mark(listed: ListedFile, size_bytes: int) -> str:
    """What the user metadata of a file say that was compared with its checksum in the manifest."""
    return f"{listed.checksum_name} {listed.digest} {size_bytes}"
