"""Read a store, HDF5 or Zarr, in a folder or a bucket: commands and training read stores in this way alone.

A store of another data set can be read too, as long as it has the arrays that are asked for; `StoreReader.schema`
raises if arrays of the schema are missing.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from etl.schema import REJECTED, STATS, UNWRITTEN, WRITTEN, Schema, schema_of, unknown_column
from etl.store.checksum import checksum
from etl.store.consistency import require_consistent
from etl.store.errors import DamagedStoreError
from etl.store.location import Location, format_of
from etl.store.statistics import from_words

if TYPE_CHECKING:
    from etl.store.hdf5.reader import Hdf5Reader
    from etl.store.zarr.reader import ZarrReader

__all__ = ["StoreReader"]


class StoreReader:
    """A store, open for reading by any number of threads; to be closed, or used in a `with` statement.

    Columns and statistics are read when they are first asked for, and kept; pixels are read into the caller's memory.
    """

    _reader: "Hdf5Reader | ZarrReader"

    def __init__(self, path: Location | os.PathLike[str] | str, check: bool = True) -> None:
        """Open the store at `path`, which may be s3://BUCKET/NAME.zarr, in the format that its suffix names.

        `check`: refuse arrays that do not fit together, and a store that says complete and cannot be. Without it, for
        what repairs or describes such stores, only what leads out of the store is refused.

        Raises:
            ValueError: nothing is there, it is not a store, or it is refused.
        """
        self.location = Location.parse(path)
        """Its file or folder, or its prefix in a bucket."""
        kind = format_of(self.location)
        if kind == "HDF5" and not self.location.path.exists():
            raise ValueError(f"store {self.location} is not there; make it with etl.extract, or name another")
        if kind == "HDF5" and not self.location.path.is_file():
            raise ValueError(f"store {self.location} must be an HDF5 file, got a folder, a pipe or a device")
        try:
            # Imported for a store of the format alone: Zarr's packages take 60 MiB on every rank.
            if kind == "HDF5":
                from etl.store.hdf5.reader import Hdf5Reader

                self._reader = Hdf5Reader(self.location.path)
            else:
                from etl.store.zarr.reader import ZarrReader

                self._reader = ZarrReader(self.location)
        except (OSError, ValueError) as error:
            raise ValueError(f"store {self.location} cannot be opened as {kind}: {error}") from None
        self.attributes = self._reader.attributes
        """Root attributes, in JSON's types."""
        self._columns: dict[str, npt.NDArray[Any]] = {}
        if check:
            try:
                require_consistent(self)
            except ValueError:
                self.close()
                raise

    @cached_property
    def schema(self) -> Schema:
        """Schema of the store: the shape and dtype of each array that etl.extract writes.

        Raises:
            ValueError: arrays of it are missing.
        """
        return schema_of(self._reader.arrays, str(self.location), self.text)

    @property
    def names(self) -> list[str]:
        """Names of all arrays, e.g. `data_10m`, `stats/data_10m/sum`."""
        return list(self._reader.arrays)

    def __contains__(self, name: str) -> bool:
        return name in self._reader.arrays

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array; a patch axis comes first."""
        return tuple(self._reader.arrays[name].shape)

    def dtype(self, name: str) -> np.dtype[Any]:
        """The dtype of an array."""
        dtype: np.dtype[Any] = self._reader.arrays[name].dtype
        return dtype

    def axis_names(self, name: str) -> list[tuple[str, ...]]:
        """Names of the dimension scales on each axis of an array."""
        return self._reader.axis_names(name)

    def column(self, name: str) -> npt.NDArray[Any]:
        """A whole array other than pixels, as stored.

        Raises:
            ValueError: the store has none of that name, or it cannot be read.
        """
        return self.read_columns((name,))[name]

    def read_columns(self, names: Iterable[str]) -> Mapping[str, npt.NDArray[Any]]:
        """Whole arrays other than pixels, by name; those not yet read are read together.

        Raises:
            ValueError: the store has none of that name, or one cannot be read.
        """
        names = tuple(names)
        self.require_arrays(names)
        unread = [name for name in names if name not in self._columns]
        try:
            if unread:  # the file is not opened, nor the bucket asked, for columns in memory
                self._columns |= self.read_anew(unread)
        except (OSError, ValueError) as error:
            text = f"arrays of {self.location} cannot be read; it is damaged or not a store of etl.extract: {error}"
            raise ValueError(text) from None
        return {name: self._columns[name] for name in names}

    def require_arrays(self, names: Iterable[str]) -> None:
        """Raise a ValueError if the store lacks one of these arrays."""
        missing = [name for name in names if name not in self]
        if missing:
            raise ValueError(f"{self.location} must be a store of etl.extract; it has no {', '.join(missing)}")

    def read_anew(self, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """As `read_columns`, but what is read is not kept.

        Raises:
            ValueError: the store has none of that name, or bytes of an array are not what was written.
            OSError: one cannot be read.
        """
        names = tuple(names)
        self.require_arrays(names)
        return self._reader.read_arrays(names)

    def read_strings(self, name: str) -> list[str] | None:
        """The values of an array of text in its second copy; None if the store has none, as in HDF5.

        Raises:
            ValueError: its bytes are not what was written.
            OSError: it cannot be read.
        """
        return self._reader.read_strings(name)

    def forget(self, *names: str) -> None:
        """Keep these columns, or all if none is named, in memory no longer: of millions of rows they fill it."""
        for name in names or tuple(self._columns):
            self._columns.pop(name, None)

    @property
    def columns(self) -> Mapping[str, npt.NDArray[Any]]:
        """All columns by name, shape (patch,), but `classes` (patch, class): `Schema.identity` and `Schema.results`.

        In a store of another program, `unknown_column` stands for those that it lacks.
        """
        whole = replace(self.schema, absent=frozenset())
        items = {item.name: item for item in (*whole.identity, *whole.results)}
        unknown = {name: unknown_column(item) for name, item in items.items() if name in self.schema.absent}
        return {**self.read_columns(name for name in items if name not in unknown), **unknown}

    def text(self, name: str) -> tuple[str, ...]:
        """Values of a coordinate variable of names, stored with a dtype of bytes, e.g. `band_10m` or `class`.

        Raises:
            ValueError: the store has none of that name, or its values are not text in UTF-8.
        """
        try:
            return tuple(value.decode() for value in self.column(name).tolist())
        except (AttributeError, UnicodeDecodeError) as error:
            raise ValueError(f"{self.location}: {name} must hold text in UTF-8: {error}") from None

    def statistics(self, name: str, which: Iterable[str] = STATS) -> dict[str, npt.NDArray[np.object_]]:
        """Exact statistics of a pixel array, those of `STATS` in `which`: Python integers of shape (split, band).

        Raises:
            ValueError: the store lacks one of them.
        """
        paths = {statistic: f"stats/{name}/{statistic}" for statistic in which}
        missing = [path for path in paths.values() if path not in self]
        if missing:
            raise ValueError(f"{self.location} must have the statistics of {name}; it has no {', '.join(missing)}")
        words = self.read_columns(paths.values())
        return {statistic: from_words(words[path]) for statistic, path in paths.items()}

    @property
    def in_chunks(self) -> bool:
        """Whether the pixels of an HDF5 store are in chunks, as etl.convert alone writes them."""
        return self._reader.in_chunks

    @property
    def complete(self) -> bool:
        """Whether the run that made the store has finished."""
        return int(self.column("complete")) == 1

    @property
    def incompleteness(self) -> str:
        """In words, that the run that made the store has not finished; empty if it has."""
        if self.complete:
            return ""
        missing, rows = int((self.column("state") == UNWRITTEN).sum()), len(self.column("state"))
        advice = "python -m etl.extract --resume completes it"
        return f"{self.location} is incomplete, {missing} of {rows} rows are not written; {advice}"

    @property
    def settings(self) -> dict[str, str]:
        """Settings of the run that made the store, from its attributes; empty if they do not hold them."""
        try:
            return dict(json.loads(self.attributes.get("settings", "{}")))
        except (ValueError, TypeError, RecursionError):  # the attribute of a store that another program wrote
            return {}

    def row_name(self, row: int) -> str:
        """A row's number and the name of its patch, for messages; needs the column `patch`."""
        return f"row {row} {self.column('patch')[row].decode(errors='replace')}"

    @property
    def written(self) -> npt.NDArray[np.intp]:
        """Rows in state `WRITTEN`, ascending, shape (row,)."""
        return np.flatnonzero(self.column("state") == WRITTEN)

    @property
    def nothing_written(self) -> str:
        """In words, that no row is in state `WRITTEN`; empty if one is."""
        if len(self.written):
            return ""
        rejected, missing = (int((self.column("state") == state).sum()) for state in (REJECTED, UNWRITTEN))
        return f"{self.location} has no written row: {rejected} rejected, {missing} not written"

    def require_written(self) -> None:
        """Check that a row is written.

        Raises:
            ValueError: none is.
        """
        if problem := self.nothing_written:
            raise ValueError(f"{problem}; {self.location.with_suffix('.rejected.csv')} says why rows are rejected")

    def read_rows(self, name: str, rows: npt.NDArray[np.int64], out: npt.NDArray[Any]) -> None:
        """Fill `out`, contiguous, shape (patch, row, col, band), in the stored dtype, with `rows` of a pixel array.

        Rows may be in any order. Those of a missing Zarr shard, which were all rejected, are 0: see `require_shards`.

        Raises:
            DamagedStoreError: bytes of a shard are not what was written.
            OSError: the store is truncated, or cannot be reached.
        """
        self._reader.read_rows(name, rows, out)

    def read(self, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """As `read_rows`, into new memory: shape (patch, row, col, band), in the stored dtype."""
        out = np.empty((len(rows), *self.shape(name)[1:]), self.dtype(name))
        self.read_rows(name, rows, out)
        return out

    def require_shards(self, names: Iterable[str], rows: npt.NDArray[np.int64]) -> None:
        """Check that nothing is missing of `rows`, shape (row,), in state `WRITTEN`, of the pixel arrays `names`.

        Without this, pixels of a missing Zarr shard are read as 0. A shard can be missing because all its pixels are 0:
        then a row of it has the checksum of such pixels.

        Raises:
            DamagedStoreError: a shard is missing.
            OSError: the shards cannot be listed.
        """
        if "checksum" not in self:  # not a store of etl.extract
            return
        for name in names:
            missing = self._reader.missing_shards(name, rows)
            for key, row in missing.items():
                if checksum(self.row(row)) != int(self.column("checksum")[row]):
                    more = f", and maybe {len(missing) - 1} more" if len(missing) > 1 else ""
                    raise DamagedStoreError(
                        f"{self.location / key}, which holds {self.row_name(row)}, is missing{more}; "
                        "python -m etl.verify lists such rows, and says how to repair the store"
                    )

    def row(self, row: int) -> list[npt.NDArray[Any]]:
        """One row of every pixel array, each (row, col, band), in the order of `Schema.pixels`.

        Raises:
            DamagedStoreError: bytes of a shard are not what was written.
            OSError: the store is truncated, or cannot be reached.
        """
        return [self.read(item.name, np.array([row]))[0] for item in self.schema.pixels]

    def close(self) -> None:
        """Close the store."""
        self._reader.close()

    def __enter__(self) -> "StoreReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
