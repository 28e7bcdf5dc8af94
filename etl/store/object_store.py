"""Read and write the objects of a Zarr store through TensorStore: files of a folder, or keys of an S3 bucket.

Source: TensorStore, key-value store drivers `file` and `s3`.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

import tensorstore as ts

from etl.aws import AwsSettingError, attempts, credentials, endpoint, region
from etl.store.location import Location

__all__ = [
    "ABSENT",
    "TENSORSTORE_ERRORS",
    "RefusedError",
    "Version",
    "delete_objects",
    "key_value_store",
    "list_objects",
    "open_array",
    "read_objects",
    "read_versions",
    "tensorstore_context",
    "translate_error",
    "translated_errors",
    "write_if_equal",
    "write_objects",
]

TENSORSTORE_ERRORS = (ValueError, NotImplementedError)
"""Exceptions of TensorStore, whatever the cause."""


def tensorstore_context(
    remote: bool, sync: bool = True, threads: int | None = None, cache_bytes: int = 0
) -> ts.Context:
    """TensorStore's settings that several arrays share.

    `remote`: they are in a bucket; `sync`: each write to a file waits for the disk; `threads`: number that copy and
    compress, None for one per core; `cache_bytes`: memory for chunks, in bytes.

    Raises:
        AwsSettingError: settings of the bucket's server cannot be used.
    """
    settings: dict[str, Any] = {"file_io_sync": sync, "cache_pool": {"total_bytes_limit": cache_bytes}}
    if remote:
        pauses = {"initial_delay": "500ms", "max_delay": "10s"}
        settings |= {"s3_request_retries": {"max_retries": attempts(), **pauses}, "aws_credentials": credentials()}
    if threads is not None:
        settings["data_copy_concurrency"] = {"limit": threads}
    return ts.Context(settings)


def _spec(location: Location) -> dict[str, Any]:
    """TensorStore's description of the folder or prefix `location`."""
    if not location.is_remote:
        return {"driver": "file", "path": f"{location.absolute()}/"}  # which takes no `..`
    address = endpoint()
    server = {"endpoint": address, "aws_region": region() or (address and "us-east-1")}
    prefix = "".join(f"{part}/" for part in location.key.parts)
    # without use_conditional_write, TensorStore compares and then puts in two requests, except at AWS itself
    where = {"bucket": location.bucket, "path": prefix, "use_conditional_write": True}
    spec = {"driver": "s3", **where, **{k: v for k, v in server.items() if v}}
    try:
        ts.KvStore.Spec(spec)  # which compares the name of the bucket with the rules for such names
    except TENSORSTORE_ERRORS as error:
        raise AwsSettingError(f"{location} cannot be an address in a bucket: {error}") from None
    return spec


def key_value_store(location: Location) -> ts.KvStore:
    """The folder or prefix `location`, open."""
    return _open_key_value_store(location.absolute())


@cache
def _open_key_value_store(location: Location) -> ts.KvStore:
    return ts.KvStore.open(_spec(location), context=tensorstore_context(location.is_remote)).result()


class RefusedError(ConnectionError):
    """The server refuses the credentials, or cannot do what is asked for."""


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
    if re.search(r"http_response_code='501'|NotImplemented", str(error)):
        needed = "the server must honour conditions of writes (If-Match, If-None-Match)"
        return RefusedError(f"{location}: {needed}, but it refused the request; use another server ({text})")
    return ConnectionError(f"{location}: the server does not answer as it should ({text})")


@contextlib.contextmanager
def translated_errors(location: Location) -> Iterator[None]:
    """Raise errors of TensorStore as `translate_error` translates them."""
    try:
        yield
    except AwsSettingError:
        raise
    except TENSORSTORE_ERRORS as error:
        raise translate_error(error, location) from None


def open_array(location: Location, name: str, shared: ts.Context, **options: Any) -> Any:
    """A future of the array `name` of a store, in its stored dtype; `options` are added to TensorStore's spec."""
    spec = {"driver": "zarr3", "kvstore": _spec(location / name), **options}
    return ts.open(spec, open=True, context=shared)


class Version(NamedTuple):
    """An object as it was read."""

    data: bytes | None
    """Its bytes; None if there was none."""

    generation: bytes
    """What TensorStore calls its state, in S3 an ETag: a digest of the bytes, so equal bytes have equal ones."""


ABSENT = bytes(ts.KvStore.open({"driver": "memory"}).result().read("none").result().stamp.generation)
"""Generation of an object that is not there."""


def read_versions(location: Location, names: Iterable[str]) -> dict[str, Version]:
    """The objects `names` below `location`, all requested at once, so that their latencies do not add up.

    Raises:
        OSError: one cannot be read.
    """
    with translated_errors(location):
        store = key_value_store(location)
        futures = {name: store.read(name) for name in names}
        results = {name: future.result() for name, future in futures.items()}
    return {
        name: Version(bytes(found.value) if found.state == "value" else None, found.stamp.generation)
        for name, found in results.items()
    }


def write_if_equal(
    location: Location, objects: Mapping[str, bytes], conditions: Mapping[str, bytes]
) -> dict[str, bytes]:
    """Put each of `objects` below `location` whose generation is still that of `conditions`; generations by name.

    The generation is empty where the server refused. An object whose answer was lost, and which is put again, is no
    such case: it is found to hold the bytes that were to be put. They must be of this put alone, not of another one.

    Raises:
        OSError: one cannot be written.
    """
    with translated_errors(location):
        store = key_value_store(location)
        futures = {name: store.write(name, data, if_equal=conditions[name]) for name, data in objects.items()}
        written = {name: bytes(future.result().generation) for name, future in futures.items()}
    refused = [name for name, generation in written.items() if not generation]
    for name, version in read_versions(location, refused).items():
        if version.data == objects[name]:
            written[name] = version.generation
    return written


def list_objects(location: Location) -> set[str]:
    """Names of all objects below `location`.

    Raises:
        OSError: they cannot be listed.
    """
    with translated_errors(location):
        return {bytes(name).decode(errors="replace") for name in key_value_store(location).list().result()}


def read_objects(location: Location, names: Iterable[str]) -> dict[str, bytes | None]:
    """The bytes of the objects `names` below `location`; None for an object that does not exist.

    Raises:
        OSError: one cannot be read.
    """
    return {name: version.data for name, version in read_versions(location, names).items()}


def write_objects(location: Location, objects: Mapping[str, bytes | None]) -> None:
    """Write the bytes of objects below `location`, each whole or not at all; None removes one.

    Raises:
        OSError: one cannot be written.
    """
    with translated_errors(location):
        store = key_value_store(location)
        for future in [store.write(name, data) for name, data in objects.items()]:
            future.result()


def delete_objects(location: Location) -> None:
    """Remove every object below `location`.

    Raises:
        OSError: one cannot be removed.
    """
    with translated_errors(location):
        key_value_store(location).delete_range(ts.KvStore.KeyRange()).result()
