"""Create and write a Zarr store in a bucket, where a run that was paused may wake up after another has taken over.

Each object is put on a condition (`etl.store.fencing`). The root object is put first: it is reserved before anything
else is written, and a run that finds a store knows from it all objects that an earlier run may still put. Nothing is
ever removed, as S3 removes without conditions. So a shard of zeros is put, too.

What is put, and when a later run makes earlier conditions false:

- the root, once: reserved again by each run until there is a store;
- metadata, once, if absent: a later run puts those that are missing;
- arrays other than pixels, some of them again and again: a later run puts each again (`claim_columns`);
- the journal, its lines one by one: a later run adds a line (`take_over`), so no row can be finished or reopened;
- shards: only while the journal has a row of theirs as unfinished; a later run puts each such shard (`claim_rows`);
- the record and the list of rejected rows, at the end: a later run changes them (`take_over`, `claim_rows`).
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.schema import Schema
from etl.store.fencing import FencedObjects
from etl.store.journal import FENCE, journal_location
from etl.store.lease import LEASE_S, Lease
from etl.store.location import Location
from etl.store.marks import empty_shard, mark_csv, mark_json, mark_shard, mark_zstd
from etl.store.object_store import (
    TENSORSTORE_ERRORS,
    RefusedError,
    delete_objects,
    list_objects,
    read_objects,
    translate_error,
)
from etl.store.zarr.backend import ZarrBackend, empty_store_objects
from etl.store.zarr.bucket_writer import BucketWriter, ShardEncoder, overwrite_columns
from etl.store.zarr.group import RESERVED, ROOT_NAMES, ZARR_ROOT, chunk_key, is_reserved
from etl.store.zarr.metadata import is_pixels
from etl.store.zarr.reader import means_damage

__all__ = ["BucketBackend"]

_SHARDS_AT_ONCE = 4
"""Shards with rows that are in memory together while they are put again."""

_SMALL_AT_ONCE = 64


class BucketBackend(ZarrBackend):
    """A Zarr store in a bucket."""

    @cached_property
    def objects(self) -> FencedObjects:
        """The objects of the store and beside it, by their names below the store's parent."""
        return FencedObjects(self.location.parent)

    def lock(self, lease_s: float | None = None) -> Lease:
        """The lease of the store, not yet held."""
        self.objects.lease = Lease(self.location, LEASE_S if lease_s is None else lease_s)
        return self.objects.lease

    def prepare_parent(self) -> None:
        """Check that the bucket is there and can be read; that it can be written, the lock finds.

        Raises:
            ValueError: the credentials are refused, or there is no such bucket.
            OSError: the server does not answer.
        """
        try:
            list_objects(self.location)  # reading an object says nothing of a bucket that is missing
        except (RefusedError, FileNotFoundError) as error:
            raise ValueError(str(error)) from None

    def exists(self) -> bool:
        """Whether the root of a Zarr store of any version is there.

        Raises:
            OSError: the server does not answer.
        """
        return any(data is not None and not is_reserved(data) for data in self._roots())

    def _roots(self) -> Iterable[bytes | None]:
        return read_objects(self.location, ROOT_NAMES).values()

    def remove(self) -> None:
        """Remove all objects of the store, if no other run has taken it over.

        Raises:
            TakenOverError: one has.
        """
        self.objects.require_held()
        delete_objects(self.location)

    def take_over(self) -> None:
        """Reserve the root if there is no store, and keep earlier runs from changing the journal and the record.

        Raises:
            TakenOverError: another run has taken the lease.
            OSError: the server does not answer.
        """
        self._reserve()
        if not self.exists():  # else `claim_rows` does this, unless the store is complete
            self._claim_rejected_list()
        self.objects.fence([journal_location(self.location).name], _fenced_journal, 1)
        self.objects.fence([self._record], lambda _, data: mark_json(data, "fenced"), 1)

    @property
    def _record(self) -> str:
        return self.location.with_suffix(".json").name

    def _claim_rejected_list(self) -> None:
        name = self.location.with_suffix(".rejected.csv").name
        if not self.objects.knows(name):
            self.objects.fence([name], _unfinished_list, 1)

    def _reserve(self) -> None:
        """Put a root that is no store, unless there is a store; an earlier run can then no longer create one."""
        if not self.exists() and not self.objects.knows(self._key(ZARR_ROOT)):
            self.objects.fence([self._key(ZARR_ROOT)], _reserved_root, 1)

    def _key(self, name: str) -> str:
        return f"{self.location.name}/{name}"

    def create(self, schema: Schema, identity: Mapping[str, npt.NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """As `FolderBackend.create`, arrays in the shape and dtype of `schema`; the root object is written first.

        Raises:
            ValueError: there is a store, or what was left of one.
            OSError: it cannot be written.
        """
        self._reserve()
        if self.exists():
            raise ValueError(f"{self.location} is there already: another run has just made it")
        objects = empty_store_objects(schema, identity, attributes, self.layout)
        pixels = tuple(f"{item.name}/" for item in schema.pixels)
        left = [
            name for name in list_objects(self.location) - {ZARR_ROOT} if name in objects or name.startswith(pixels)
        ]
        if left:
            raise ValueError(
                f"{self.location} holds {len(left)} objects of a store without {ZARR_ROOT}, such as {min(left)}; "
                "remove them, or name another store"
            )
        self.objects.put({self._key(ZARR_ROOT): objects.pop(ZARR_ROOT)})
        self.objects.put({self._key(name): data for name, data in objects.items()})

    def claim_columns(self, identity: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put arrays that a killed run has not, and keep earlier runs from changing any array but pixels.

        Raises:
            ValueError: they are not compressed by zstd, as etl.extract writes them.
            TakenOverError: another run has taken the lease.
            OSError: one cannot be read or written.
        """
        root = json.loads(read_objects(self.location, [ZARR_ROOT])[ZARR_ROOT] or b"{}")
        nodes = root["consolidated_metadata"]["metadata"]
        objects = {f"{name}/{ZARR_ROOT}": json.dumps(node).encode() for name, node in nodes.items()}
        with self.reader() as reader:
            schema = reader.schema
        arrays = {name: node for name, node in nodes.items() if node["node_type"] == "array" and not is_pixels(name)}
        small = [chunk_key(name, (0,) * len(node["shape"])) for name, node in arrays.items()]
        missing = {*objects, *small} - list_objects(self.location)
        if missing:
            objects = empty_store_objects(schema, identity, {}, self.layout) | objects
            self.objects.fence_absent(map(self._key, missing), lambda key, data: data or objects[self._name(key)])
        self.objects.fence(map(self._key, small), self._marked_column, _SMALL_AT_ONCE)

    def _name(self, key: str) -> str:
        return key.removeprefix(f"{self.location.name}/")

    def _marked_column(self, key: str, data: bytes | None) -> bytes:
        try:
            return mark_zstd(data or b"")
        except ValueError as error:
            raise ValueError(f"{self.objects.location / key} cannot be written: {error}") from None

    def claim_rows(self, rows: npt.NDArray[np.intp]) -> None:
        """Keep earlier runs from changing the list of rejected rows, and the shards of `rows`.

        The journal must have them as unfinished before: only then a later run claims them from this one.

        Raises:
            ValueError: the store has no shards.
            TakenOverError: another run has taken the lease.
            OSError: one cannot be read or written.
        """
        self._claim_rejected_list()
        if not len(rows):
            return
        names = [item.name for item in self.reader().schema.pixels]
        encoder = ShardEncoder(self.location, names)
        present = list_objects(self.location)
        for name in names:
            if not encoder.has_shards(name):
                raise ValueError(
                    f"{self.location} has no shards, so another run could change it unnoticed; copy it by "
                    "python -m etl.convert into a folder, or extract it anew with --shard-rows 1 or more"
                )
            chunks = encoder.chunks(name)
            shards = np.unique(rows // encoder.shard_rows(name)).tolist()
            keys = [
                key for key in (chunk_key(name, (k, 0, 0, 0)) for k in shards) if not self.objects.knows(self._key(key))
            ]

            def marked(_: str, data: bytes | None, chunks: int = chunks) -> bytes:
                return mark_shard(empty_shard(chunks) if data is None else data, chunks)

            self.objects.fence_absent((self._key(key) for key in keys if key not in present), marked)
            self.objects.fence((self._key(key) for key in keys if key in present), marked, _SHARDS_AT_ONCE)

    def overwrite(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace whole arrays other than pixels, in the order given."""
        overwrite_columns(self.location, arrays, self.objects)

    def zero_rows(self, rows: Sequence[int]) -> None:
        """Set the pixels of `rows`, which are claimed, to 0; of a damaged shard all rows."""
        encoder = ShardEncoder(self.location, [item.name for item in self.reader().schema.pixels])
        for name, array in encoder.arrays.items():
            shard_rows, empty = encoder.shard_rows(name), empty_shard(encoder.chunks(name))
            for shard in sorted({row // shard_rows for row in rows}):
                key = chunk_key(name, (shard, 0, 0, 0))
                data = read_objects(self.location, [key])[key] or b""
                if len(data) <= len(mark_shard(empty, encoder.chunks(name))):
                    continue  # it holds no chunk, as left by `claim_rows`
                encoder.load(name, shard, data)
                try:
                    array[[row for row in rows if row // shard_rows == shard]] = 0
                    zeroed = encoder.take(name, shard) or empty
                except TENSORSTORE_ERRORS as error:
                    if not means_damage(error):
                        raise translate_error(error, self.location) from None
                    encoder.take(name, shard)
                    zeroed = empty
                self.objects.put({self._key(key): mark_shard(zeroed, encoder.chunks(name))})

    def writer(self, comm: Any, info: Any) -> BucketWriter:
        """Collective: open for writing; `info`, of MPI-IO, is not used."""
        return BucketWriter(self.location, comm, self.objects)

    def write_beside(self, location: Location, data: bytes, append: bool = False) -> None:
        """Write a small object beside the store, or add to its end; each is replaced as a whole.

        Raises:
            TakenOverError: another run has taken over.
            OSError: it cannot be written.
        """
        if append:
            self.objects.append(location.name, data)
        elif location == journal_location(self.location):
            self.objects.put({location.name: _fenced_journal(location.name, data)})
        elif location == self.location.with_suffix(".rejected.csv"):
            self.objects.put({location.name: mark_csv(data)})
        else:
            self.objects.put({location.name: data})


def _fenced_journal(_: str, data: bytes | None) -> bytes:
    """The journal with one more line, which is of no other run; a line that is not whole is cut off."""
    whole = (data or b"")[: (data or b"").rfind(b"\n") + 1]
    return whole + json.dumps({FENCE: secrets.token_hex(16)}).encode() + b"\n"


def _reserved_root(_: str, data: bytes | None) -> bytes:
    """A root that is no store; a store's own stays as it is."""
    return mark_json(None, RESERVED) if data is None or is_reserved(data) else data


def _unfinished_list(_: str, __: bytes | None) -> bytes:
    return f"the list of rejected rows is written once the store is complete ({secrets.token_hex(16)})\n".encode()
