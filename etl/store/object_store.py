"""The objects of a Zarr store, files below a local folder or keys below an S3 prefix, through one interface.

Credentials, region and endpoint come from where AWS's own programs look for them: `AWS_ACCESS_KEY_ID`,
`AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_PROFILE`, `AWS_REGION`, `AWS_ENDPOINT_URL`, and `~/.aws/`. A request
that fails is tried again, `AWS_MAX_ATTEMPTS` times in all.

Source: TensorStore, key-value store drivers `file` and `s3`; AWS SDKs and Tools Reference Guide, environment variables.
"""

import configparser
import contextlib
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from etl.store.location import is_remote, shown

__all__ = [
    "FAILS",
    "RefusedError",
    "array_of",
    "chunk_key",
    "context",
    "delete",
    "discard_unfinished",
    "exists",
    "explain",
    "explained",
    "key_value_store",
    "load",
    "open_array",
    "put",
    "put_new",
    "read",
    "spec_of",
]  # fmt: skip

_ATTEMPTS = 8
"""With pauses that double from half a second up to ten: about half a minute."""

_ROOT = "zarr.json"

FAILS = (ValueError, NotImplementedError)
"""What TensorStore raises, whatever has failed."""


def context(sync: bool = True, threads: int | None = None, cache_bytes: int = 0) -> ts.Context:
    """What the arrays of one process share: whether files are synced at each write, threads, memory for chunks."""
    attempts = max(1, int(os.environ.get("AWS_MAX_ATTEMPTS", _ATTEMPTS)))
    more: dict[str, Any] = {} if threads is None else {"data_copy_concurrency": {"limit": threads}}
    return ts.Context(
        {
            "file_io_sync": sync,
            "cache_pool": {"total_bytes_limit": cache_bytes},
            "s3_request_retries": {"max_retries": attempts, "initial_delay": "500ms", "max_delay": "10s"},
            "aws_credentials": _credentials(),
            **more,
        }
    )


def _credentials() -> dict[str, str]:
    """Where credentials are: said outright, because TensorStore's chain of guesses logs every place that has none."""
    if "AWS_ACCESS_KEY_ID" in os.environ:
        return {"type": "environment"}
    file = _aws_file("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    if file.exists():
        config = str(_aws_file("AWS_CONFIG_FILE", "config"))
        return {"type": "profile", "profile": _profile_name(), "credentials_file": str(file), "config_file": config}
    return {"type": "default"}


def _aws_file(variable: str, name: str) -> Path:
    return Path(os.environ.get(variable, f"~/.aws/{name}")).expanduser()


def _profile_name() -> str:
    return os.environ.get("AWS_PROFILE", "default")


def spec_of(path: Path) -> dict[str, Any]:
    """TensorStore's description of the folder or prefix `path`."""
    if not is_remote(path):
        return {"driver": "file", "path": f"{path.absolute()}/"}
    prefix = "".join(f"{part}/" for part in path.parts[2:])
    spec: dict[str, Any] = {"driver": "s3", "bucket": path.parts[1], "path": prefix}
    profile = _profile()
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or profile.get("region", "")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    endpoint = endpoint or profile.get("endpoint_url", "")
    if endpoint:
        spec |= {"endpoint": endpoint.rstrip("/"), "aws_region": region or "us-east-1"}
    elif region:
        spec["aws_region"] = region
    return spec


def _profile() -> Mapping[str, str]:
    """The chosen profile of ~/.aws/config; empty where there is none."""
    parser, name = configparser.ConfigParser(), _profile_name()
    parser.read(_aws_file("AWS_CONFIG_FILE", "config"))
    section = name if name == "default" else f"profile {name}"
    return parser[section] if parser.has_section(section) else {}


@cache
def key_value_store(path: Path) -> ts.KvStore:
    """The folder or prefix `path`, open."""
    return ts.KvStore.open(spec_of(path), context=context()).result()


class RefusedError(ConnectionError):
    """The server does not let these credentials in."""


def explain(error: Exception, path: Path) -> OSError:
    """What TensorStore says, in words that name the store and what to do.

    A `ConnectionError` may be gone at the next try: a server that does not answer, credentials that expired.
    """
    text = re.sub(r" \[\S+='.*", "", str(error), flags=re.DOTALL)
    if not is_remote(path):
        return OSError(f"{path}: {text}")
    if "NoSuchBucket" in text:
        return FileNotFoundError(f"{shown(path)}: the bucket {path.parts[1]} must be there; create it, or name another")
    if re.search(r"\b(401|403)\b|PERMISSION_DENIED|UNAUTHENTICATED|[Cc]redentials", str(error)):
        advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        return RefusedError(f"{shown(path)}: the server refuses these credentials, {advice} ({text})")
    return ConnectionError(f"{shown(path)}: the server does not answer as it should ({text})")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Whatever TensorStore raises within, in the words of `explain`."""
    try:
        yield
    except FAILS as error:
        raise explain(error, path) from None


def open_array(path: Path, name: str, shared: ts.Context, **options: Any) -> Any:
    """A future of the pixel array `name` of the store at `path`; `options` are of TensorStore's description."""
    spec = {"driver": "zarr3", "kvstore": spec_of(path / name), **options}
    return ts.open(spec, open=True, context=shared, dtype=ts.uint16)


def read(path: Path, name: str) -> bytes | None:
    """The object `name` below `path`; None where there is none.

    Raises:
        OSError: it cannot be read.
    """
    return _read(path, [name])[name]


def _read(path: Path, names: Iterable[str]) -> dict[str, bytes | None]:
    """Objects by name, read together."""
    with explained(path):
        store = key_value_store(path)
        asked = {name: store.read(name) for name in names}
        got = {name: future.result() for name, future in asked.items()}
    return {name: bytes(found.value) if found.state == "value" else None for name, found in got.items()}


def put(path: Path, objects: Mapping[str, bytes]) -> None:
    """Write objects below `path`, each whole or not at all.

    Raises:
        OSError: one cannot be written.
    """
    with explained(path):
        store = key_value_store(path)
        for future in [store.write(name, data) for name, data in objects.items()]:
            future.result()


def discard_unfinished(path: Path) -> None:
    """Remove what writers that were killed left half-written below the folder `path`, while nobody writes there.

    TensorStore writes `name.__lock`, then renames it; one that is there it writes into without cutting it off, so that
    a shorter object would end with an older one's bytes (seen in 0.1.86). Our own shards are `name.part` until then.
    """
    if not is_remote(path):
        for left in (*path.rglob("*.__lock"), *path.rglob("*.part")):
            left.unlink(missing_ok=True)


def delete(path: Path) -> None:
    """Remove every object below `path`.

    Raises:
        OSError: one cannot be removed.
    """
    with explained(path):
        key_value_store(path).delete_range(ts.KvStore.KeyRange()).result()


def put_new(path: Path, name: str, data: bytes) -> bool:
    """Write one object where none of its name is; False where one is, also one that came just now.

    Raises:
        OSError: it cannot be written.
    """
    with explained(path):
        store = key_value_store(path)
        found = store.read(name).result()
        if found.state == "value":
            return False
        return bool(store.write(name, data, if_equal=found.stamp.generation).result().generation)


def check(path: Path) -> None:
    """Make sure that objects can be put where the store `path` is to be.

    Raises:
        ValueError: the credentials are refused, or there is no such bucket.
        OSError: the server does not answer.
    """
    try:
        probe = path.name + ".probe"
        put(path.parent, {probe: b""})
        key_value_store(path.parent).write(probe, None).result()
    except (RefusedError, FileNotFoundError) as error:
        raise ValueError(str(error)) from None
    except FAILS as error:
        raise explain(error, path) from None


def exists(path: Path) -> bool:
    """Whether a store, or anything else, is at `path`; in a bucket, whether the root of a Zarr store of any version is.

    Raises:
        OSError: the server does not say.
    """
    if not is_remote(path):
        return path.exists()
    return any(data is not None for data in _read(path, (_ROOT, ".zgroup", ".zarray")).values())


def chunk_key(name: str, index: tuple[int, ...]) -> str:
    """Where a chunk or shard of an array of our stores lies."""
    return f"{name}/" + ".".join(map(str, ("c", *index)))


def load(path: Path, names: Iterable[str] | None = None) -> zarr.Group:
    """The group at `path` with the arrays `names` (all that are no pixels) brought into memory; the others are there by
    their metadata alone.

    Raises:
        ValueError: there is no Zarr version 3 store with consolidated metadata.
        OSError: it cannot be read.
    """
    found = _read(path, (_ROOT, ".zgroup", ".zarray"))
    root = found[_ROOT]
    if root is None:
        raise ValueError(_what_instead(path, found))
    group = _group({_ROOT: root})
    if group.metadata.consolidated_metadata is None:
        raise ValueError(f"{shown(path)} must be a store of etl.extract; its zarr.json lists no arrays")
    arrays = dict(_arrays(group))
    wanted = [name for name, array in arrays.items() if array.shards is None] if names is None else names
    keys = [chunk_key(name, (0,) * arrays[name].ndim) for name in wanted if name in arrays]
    chunks = {key: data for key, data in _read(path, keys).items() if data is not None}
    return _group({_ROOT: root, **chunks})


def item_of(group: zarr.Group, name: str) -> zarr.Array[Any]:
    """The array `name` of a group, unread."""
    item = group[name]
    if not isinstance(item, zarr.Array):
        raise ValueError(f"{name} must be an array, it is a group")
    return item


def array_of(group: zarr.Group, name: str) -> npt.NDArray[Any]:
    """The whole array `name` of a group that `load` gave."""
    return np.asarray(item_of(group, name)[...])


def _arrays(group: zarr.Group) -> Iterable[tuple[str, zarr.Array[Any]]]:
    for name, item in group.members(max_depth=None):
        if isinstance(item, zarr.Array):
            yield name, item


def _group(objects: Mapping[str, bytes]) -> zarr.Group:
    make = default_buffer_prototype().buffer.from_bytes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fixed-length bytes are an extension of the specification
        store = MemoryStore({key: make(data) for key, data in objects.items()})
        return zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=None)


def _what_instead(path: Path, found: Mapping[str, bytes | None]) -> str:
    if found[".zgroup"] is not None or found[".zarray"] is not None:
        return f"{shown(path)} must be a Zarr store of version 3, as etl.extract makes it; it is of version 2"
    return f"{shown(path)} must be a Zarr store of etl.extract; it has no {_ROOT}"
