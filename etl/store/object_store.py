"""Read and write the objects of a Zarr store through TensorStore: files of a folder, or keys of an S3 bucket.

Credentials, region and endpoint come from where AWS's own programs look for them: `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL`, and `~/.aws/`. A request
that fails is tried again, `AWS_MAX_ATTEMPTS` times in all.

Source: TensorStore, key-value store drivers `file` and `s3`; AWS SDKs and Tools Reference Guide, environment variables.
"""

import configparser
import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import tensorstore as ts

from etl.store.location import Location

__all__ = [
    "TENSORSTORE_ERRORS",
    "RefusedError",
    "VersionedObject",
    "delete_objects",
    "open_array",
    "read_objects",
    "tensorstore_context",
    "translate_error",
    "translated_errors",
    "write_objects",
]

# Pauses between attempts double from half a second up to ten: about half a minute in all.
_ATTEMPTS = 8

TENSORSTORE_ERRORS = (ValueError, NotImplementedError)
"""Exceptions of TensorStore, whatever the cause."""


def tensorstore_context(sync: bool = True, threads: int | None = None, cache_bytes: int = 0) -> ts.Context:
    """TensorStore's settings that several arrays share.

    `sync`: each write to a file waits for the disk; `threads`: number that copy and compress, None for one per core;
    `cache_bytes`: memory for chunks, in bytes.
    """
    attempts = max(1, int(os.environ.get("AWS_MAX_ATTEMPTS", _ATTEMPTS)))
    settings: dict[str, Any] = {
        "file_io_sync": sync,
        "cache_pool": {"total_bytes_limit": cache_bytes},
        "s3_request_retries": {"max_retries": attempts, "initial_delay": "500ms", "max_delay": "10s"},
        "aws_credentials": _credentials(),
    }
    if threads is not None:
        settings["data_copy_concurrency"] = {"limit": threads}
    return ts.Context(settings)


def _credentials() -> dict[str, str]:
    """Where TensorStore finds credentials; its own default tries every source and logs each failure."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {"type": "environment"}
    file, config = _aws_file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), _aws_file("AWS_CONFIG_FILE", "config")
    if not file.exists():
        return {"type": "default"}
    return {"type": "profile", "profile": _profile(), "credentials_file": str(file), "config_file": str(config)}


def _aws_file(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable, f"~/.aws/{name}")).expanduser()


def _profile() -> str:
    return os.environ.get("AWS_PROFILE", "default")


def _spec(location: Location) -> dict[str, Any]:
    """TensorStore's description of the folder or prefix `location`."""
    if not location.is_remote:
        return {"driver": "file", "path": f"{location.path.absolute()}/"}
    endpoint = _aws_setting("endpoint_url", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL").rstrip("/")
    region = _aws_setting("region", "AWS_REGION", "AWS_DEFAULT_REGION") or (endpoint and "us-east-1")
    server = {"endpoint": endpoint, "aws_region": region}
    prefix = "".join(f"{part}/" for part in location.key.parts)
    return {"driver": "s3", "bucket": location.bucket, "path": prefix, **{k: v for k, v in server.items() if v}}


def _aws_setting(option: str, *variables: str) -> str:
    """The first environment variable of `variables` that is set, else `option` in ~/.aws/config, else ""."""
    # TensorStore takes credentials from a profile, but neither region nor endpoint.
    config = configparser.ConfigParser(interpolation=None)
    config.read(_aws_file("AWS_CONFIG_FILE", "config"))
    section = "default" if _profile() == "default" else f"profile {_profile()}"
    values = [os.environ.get(variable, "") for variable in variables]
    return next(filter(None, values), config.get(section, option, fallback=""))


@cache
def _key_value_store(location: Location) -> ts.KvStore:
    """The folder or prefix `location`, open."""
    return ts.KvStore.open(_spec(location), context=tensorstore_context()).result()


class RefusedError(ConnectionError):
    """The server refuses the credentials."""


def translate_error(error: Exception, location: Location) -> OSError:
    """TensorStore's error as an OSError that names the store at `location` and says what to do.

    After a `ConnectionError` a later try may succeed: a server that does not answer, credentials that expired.
    """
    text = re.sub(r" \[\S+='.*", "", str(error), flags=re.DOTALL)
    if not location.is_remote:
        return OSError(f"{location}: {text}")
    if "NoSuchBucket" in text:
        return FileNotFoundError(f"{location}: the bucket {location.bucket} must be there; create it, or name another")
    if re.search(r"\b(401|403)\b|PERMISSION_DENIED|UNAUTHENTICATED|[Cc]redentials", str(error)):
        cause = "no or wrong credentials, or no permission for this bucket"
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return RefusedError(f"{location}: the server refused the request ({cause}); {advice} ({text})")
    return ConnectionError(f"{location}: the server does not answer as it should ({text})")


@contextlib.contextmanager
def translated_errors(location: Location) -> Iterator[None]:
    """Raise errors of TensorStore as `translate_error` translates them."""
    try:
        yield
    except TENSORSTORE_ERRORS as error:
        raise translate_error(error, location) from None


def open_array(location: Location, name: str, shared: ts.Context, **options: Any) -> Any:
    """A future of the array `name` of a store, in its stored dtype; `options` are added to TensorStore's spec."""
    spec = {"driver": "zarr3", "kvstore": _spec(location / name), **options}
    return ts.open(spec, open=True, context=shared)


class VersionedObject:
    """One object that is replaced or removed only if no other process has written it meanwhile.

    Source: Amazon S3 User Guide, conditional writes (`If-None-Match`, `If-Match`).
    """

    def __init__(self, location: Location) -> None:
        self._location, self._store = location, _key_value_store(location.parent)
        self._version = b""  # as last read or written here

    def read(self) -> bytes | None:
        """The object's bytes, None if there is none; `write` replaces only this version.

        Raises:
            OSError: it cannot be read.
        """
        with translated_errors(self._location):
            result = self._store.read(self._location.name).result()
        self._version = result.stamp.generation
        return bytes(result.value) if result.state == "value" else None

    def write(self, data: bytes | None) -> bool:
        """Replace the bytes of the object, or remove it if `data` is None; False if another process wrote it first.

        Raises:
            OSError: it cannot be written.
        """
        with translated_errors(self._location):
            stamp = self._store.write(self._location.name, data, if_equal=self._version).result()
        self._version = stamp.generation or self._version
        return bool(stamp.generation)


def read_objects(location: Location, names: Iterable[str]) -> dict[str, bytes | None]:
    """The bytes of the objects `names` below `location`; None for an object that does not exist.

    Raises:
        OSError: one cannot be read.
    """
    with translated_errors(location):
        store = _key_value_store(location)
        futures = {name: store.read(name) for name in names}  # all at once: their latencies do not add up
        results = {name: future.result() for name, future in futures.items()}
    return {name: bytes(found.value) if found.state == "value" else None for name, found in results.items()}


def write_objects(location: Location, objects: Mapping[str, bytes | None]) -> None:
    """Write the bytes of objects below `location`, each whole or not at all; None removes one.

    Raises:
        OSError: one cannot be written.
    """
    with translated_errors(location):
        store = _key_value_store(location)
        for future in [store.write(name, data) for name, data in objects.items()]:
            future.result()


def delete_objects(location: Location) -> None:
    """Remove every object below `location`.

    Raises:
        OSError: one cannot be removed.
    """
    with translated_errors(location):
        _key_value_store(location).delete_range(ts.KvStore.KeyRange()).result()
