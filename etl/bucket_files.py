"""Files in an S3 bucket: their names and sizes, and any range of their bytes; nothing is copied to a disk.

A place in a bucket is a path that begins with `s3:`, as `pathlib` writes `s3://BUCKET/KEY`. Requests go through
obstore, to the server that the environment names, or to an `S3Server` that is given. A file that is put appears whole,
or not at all.

A file that is replaced while it is read is noticed by its ETag: each request asks for that of the listing, and that of
the answer is compared with it. A server without ETags gives no such protection.
"""

import datetime
import errno
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from etl.aws import AwsSettingError, S3Server, access_keys, attempts, endpoint, is_unsigned, region
from etl.input_files import MOST_BYTES, MOST_FILES, FileStat, RefusedFileError

if TYPE_CHECKING:
    from obstore.store import S3Store

__all__ = [
    "BucketFiles", "RemoteFile", "can_exist", "is_remote", "object_metadata", "put_object", "walk_bucket",
]  # fmt: skip

_TIMEOUT = "60s"
"""Most time for a request; it is tried again `AWS_MAX_ATTEMPTS` times."""

_PART_BYTES = 8 << 20
"""Bytes of each part of a file that is put; smaller files are put by one request."""

_PARTS_AT_ONCE = 2
"""Parts of one file on their way; with the one that is read, three are in memory."""


def is_remote(path: Path) -> bool:
    """Whether a path names a place in a bucket."""
    return path.parts[:1] == ("s3:",)


def _config(server: S3Server | None) -> dict[str, Any]:
    """Arguments of obstore's client for a server and its keys; what they leave out, it reads from the environment."""
    if server is None:
        address = endpoint()
        config = {**access_keys(), **({"AWS_ENDPOINT_URL": address} if address else {})}
        config["AWS_REGION"] = region() or "us-east-1"
        return {"config": config | ({"AWS_SKIP_SIGNATURE": "true"} if is_unsigned() else {})}
    is_signed = bool(server.access_key_id)
    config = {"AWS_ENDPOINT_URL": server.address, "AWS_REGION": "us-east-1"}
    config["AWS_SKIP_SIGNATURE"] = "false" if is_signed else "true"
    # not as settings, beside which the session token of the environment would count
    return {"config": config, **({"credential_provider": partial(_credential, server)} if is_signed else {})}


def _credential(server: S3Server) -> dict[str, Any]:
    keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
    return {**keys, "token": server.session_token or None, "expires_at": None}


@cache
def _store(bucket: str, server: S3Server | None = None) -> "S3Store":
    from obstore.store import S3Store

    second = datetime.timedelta(seconds=1)
    backoff = {"init_backoff": second / 2, "max_backoff": 10 * second, "base": 2.0}
    retries: Any = {"max_retries": attempts() - 1, "backoff": backoff, "retry_timeout": 300 * second}
    options: Any = {"timeout": _TIMEOUT, "connect_timeout": "10s", "allow_http": True}
    try:
        return S3Store(bucket, **_config(server), client_options=options, retry_config=retries)
    except AwsSettingError:
        raise
    except Exception as error:
        raise AwsSettingError(f"s3://{bucket} cannot be an address in a bucket: {_reason(error)}") from None


def _place(path: Path, server: S3Server | None = None) -> tuple["S3Store", str]:
    """Client of the bucket, and the key of a path without a slash at its end."""
    if len(path.parts) < 2:
        raise AwsSettingError(f"a place in a bucket must be s3://BUCKET/KEY, got {path}")
    return _store(path.parts[1], server), "/".join(path.parts[2:])


def _reason(error: Exception) -> str:
    """What an error of obstore says, in one line; without request headers, which hold signatures."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return re.sub(r"(?i)(authorization|x-amz-[a-z-]+|signature|credential)\S*", "...", text)[:300]


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise errors of obstore as errors of the system, which name the place and say what to do.

    After a `ConnectionError` a later run can succeed: a server that does not answer, credentials that expired.
    """
    from obstore.exceptions import (
        BaseError,
        NotFoundError,
        PermissionDeniedError,
        PreconditionError,
        UnauthenticatedError,
    )

    try:
        yield
    except (FileNotFoundError, NotFoundError):
        raise FileNotFoundError(f"{path} is not in the bucket") from None
    except PreconditionError:
        raise OSError(f"{path} was replaced while it was read") from None
    except BaseError as error:
        if "NoSuchBucket" in str(error):  # a listing raises no error of that kind
            bucket = path.parts[1]
            raise FileNotFoundError(f"{path}: the bucket {bucket} must be there; create it, or name another") from None
        refused = isinstance(error, (PermissionDeniedError, UnauthenticatedError))
        # when it lists, or finds no credentials at all, obstore raises no error of these kinds
        if refused or re.search(r"status code: 40[13]\b|169\.254\.169\.254|[Cc]redential", str(error)):
            advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            public = "for a public bucket set AWS_NO_SIGN_REQUEST=YES"
            raise ConnectionError(f"{path}: the server refused the request; {advice}; {public}") from None
        raise ConnectionError(f"{path}: the server does not answer as it should ({_reason(error)})") from None


def walk_bucket(top: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As `etl.input_files.walk_folders`, with the prefixes of a bucket as folders.

    Raises:
        OSError: a prefix cannot be listed.
    """
    import obstore

    pending = [top]
    while pending:
        here = pending.pop()
        store, key = _place(here)
        with _translated(here):
            found = obstore.list_with_delimiter(store, f"{key}/" if key else None)
        folders = sorted(prefix.rstrip("/").rsplit("/", 1)[-1] for prefix in found["common_prefixes"])
        yield here, folders, sorted(meta["path"].rsplit("/", 1)[-1] for meta in found["objects"])
        pending += [here / name for name in reversed(folders)]


def can_exist(path: Path) -> bool:
    """Whether a file or folder is there, or can be: what is in a bucket, only a listing shows."""
    return is_remote(path) or path.exists()


class RemoteFile:
    """A file in a bucket, of which any range of bytes can be read; as `etl.packed_files.RangeFile`."""

    def __init__(self, path: Path, stat: FileStat, server: S3Server | None = None) -> None:
        self.path, self.size_bytes, self._server = path, stat.size_bytes, server
        self._etag = "" if stat.etag.startswith("W/") else stat.etag  # a weak one is no condition for ranges

    def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset`, fewer at the end of the file, by one request.

        Raises:
            OSError: they cannot be read.
        """
        import obstore

        stop = min(self.size_bytes, offset + size)
        if offset >= stop:
            return b""
        store, key = _place(self.path, self._server)
        condition: Any = {"range": (offset, stop), **({"if_match": self._etag} if self._etag else {})}
        with _translated(self.path):
            answer = obstore.get(store, key, options=condition)
            etag, data = answer.meta.get("e_tag"), bytes(answer.bytes())
        if self._etag and etag and etag != self._etag:  # of a server that ignores conditions
            raise OSError(f"{self.path} was replaced while it was read")
        if len(data) != stop - offset:
            raise ConnectionError(f"{self.path}: the server sent {len(data)} of {stop - offset} bytes")
        return data


class BucketFiles:
    """The files below a prefix of a bucket, as `etl.packed_files.FolderFiles` has those of a folder."""

    def __init__(self, path: Path, server: S3Server | None = None) -> None:
        """List the files; `server`: where they are, None for the one that the environment names.

        Raises:
            OSError: they cannot be listed, or there are too many.
        """
        import obstore

        self.path, self._server = path, server
        self.refused: Mapping[str, str] = {}
        """Why files are left out: none is."""
        self._stats = dict[str, FileStat]()
        store, key = _place(path, server)
        with _translated(path):
            for batch in obstore.list(store, f"{key}/", chunk_size=1000):
                for meta in batch:
                    name = meta["path"].removeprefix(f"{key}/")
                    changed_ns = int(meta["last_modified"].timestamp()) * 1_000_000_000
                    self._stats[name] = FileStat(meta["size"], changed_ns, None, meta.get("e_tag") or "")
                if len(self._stats) > MOST_FILES:
                    raise RefusedFileError(path, f"must hold at most {MOST_FILES} files, got more")

    @property
    def names(self) -> list[str]:
        """Paths of all files, relative to the prefix."""
        return list(self._stats)

    def gdal_path(self, name: str) -> str:
        """The path of a file; GDAL cannot open it."""
        return str(self.path / name)

    def stat(self, name: str) -> FileStat:
        """What the listing says of a file."""
        return self._stats[name]

    def open_ranges(self, name: str) -> RemoteFile:
        """A file, of which any range of bytes can be read.

        Raises:
            RefusedFileError: it is larger than any real one.
        """
        size = self._stats[name].size_bytes
        if size > MOST_BYTES:
            raise RefusedFileError(self.path / name, f"must have at most {MOST_BYTES} bytes, got {size}")
        return RemoteFile(self.path / name, self._stats[name], self._server)

    @contextmanager
    def open(self, name: str) -> Iterator[BufferedIOBase]:
        """A file, open for reading; it is read whole at once."""
        file = self.open_ranges(name)
        yield BytesIO(file.read(0, file.size_bytes))

    def read(self, name: str, most: int) -> bytes:
        """All bytes of a file, which must not be more than `most`."""
        size = self._stats[name].size_bytes
        if size > most:
            raise RefusedFileError(self.path / name, f"must have at most {most} bytes, got {size}")
        return self.open_ranges(name).read(0, size)


def put_object(
    path: Path, source: Path | bytes, metadata: Mapping[str, str], is_stopping: Callable[[], bool] = lambda: False
) -> None:
    """Put a file, or bytes, at a place in a bucket, with user metadata; a large file in parts, of which three at most
    are in memory.

    It appears once all of it has arrived; if that fails, the parts that the server has are removed.

    Raises:
        InterruptedError: `is_stopping` has become true.
        OSError: it cannot be read or put.
    """
    import obstore

    store, key = _place(path)
    if isinstance(source, Path) and source.stat().st_size > _PART_BYTES:
        data: Any = _parts_of(source, is_stopping)
    else:
        data = source.read_bytes() if isinstance(source, Path) else source
    attributes = dict(metadata)
    with _translated(path):
        obstore.put(store, key, data, attributes=attributes, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)


def _parts_of(source: Path, is_stopping: Callable[[], bool]) -> Iterator[bytes]:
    with source.open("rb", buffering=0) as file:
        while part := file.read(_PART_BYTES):
            if is_stopping():
                raise InterruptedError(errno.EINTR, "the run ends")
            yield part


def object_metadata(path: Path) -> dict[str, str]:
    """User metadata of a file in a bucket, by name in lower case; empty if the file is not there.

    Raises:
        ConnectionError: the server does not answer.
    """
    import obstore

    store, key = _place(path)
    try:
        with _translated(path):
            answer = obstore.get(store, key, options={"head": True})
    except FileNotFoundError:
        return {}
    return {str(name).lower(): str(value) for name, value in answer.attributes.items()}
