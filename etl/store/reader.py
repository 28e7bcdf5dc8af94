"""A store open for reading, HDF5 or Zarr: its columns at once, its pixels run of rows by run of rows."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from etl.schema import STATS, WRITTEN, DataSet, Schema
from etl.store.hdf5 import stats_names
from etl.store.location import is_remote, shown
from etl.store.rows import RowReader, ranges_of, schema_of

__all__ = ["OpenStore", "Pixels", "open_rows"]

_CACHE_BYTES = 64 << 20
"""Memory for chunks that hold more rows than are asked for."""


class Pixels(Protocol):
    """Pixel rows of a store."""

    def read(self, item: DataSet, first: int, rows: int) -> npt.NDArray[np.uint16]:
        """Rows [first, first + rows) of one pixel data set, shape (rows, ...), uint16."""

    def close(self) -> None:
        """Close the store."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenStore:
    """One store; to be closed, or used in a `with`."""

    path: Path
    """Where it lies."""

    schema: Schema
    """Its data sets."""

    attributes: dict[str, Any]
    """Root attributes."""

    columns: dict[str, npt.NDArray[Any]]
    """Identity and results by name, first axis patch."""

    stats: dict[str, npt.NDArray[np.uint64]]
    """By path, e.g. `stats/data_10m/sum`: shape (split, band, word), high before low."""

    complete: bool
    """Whether the run that made it has finished."""

    pixels: Pixels
    """Its pixel rows."""

    @property
    def written(self) -> npt.NDArray[np.intp]:
        """Rows in state 1, ascending."""
        return np.flatnonzero(self.columns["state"] == WRITTEN)

    def read(self, item: DataSet, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.uint16]:
        """Ascending `rows` of one pixel data set, shape (len(rows), ...), uint16.

        Raises:
            OSError: the store is truncated or torn there.
        """
        parts = [self.pixels.read(item, first, stop - first) for first, stop in ranges_of(rows)]
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, *item.row_shape), np.uint16), *parts])

    def __enter__(self) -> "OpenStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pixels.close()


def open_rows(path: Path) -> OpenStore:
    """The store at `path`, by its suffix `.h5` or `.zarr`; a Zarr store may lie in a bucket.

    Raises:
        ValueError: nothing is there, or no store.
    """
    if path.suffix not in (".h5", ".zarr"):
        raise ValueError(f"store must end in .h5 or .zarr, got {shown(path)}")
    if not is_remote(path) and not path.exists():
        raise ValueError(f"store must be there, got {path}; python -m etl.extract makes one")
    try:
        return _open_hdf5(path) if path.suffix == ".h5" else _open_zarr(path)
    except (OSError, KeyError) as error:
        raise ValueError(
            f"{shown(path)} must be a store, HDF5 or Zarr version 3, but cannot be opened: {error}"
        ) from None


def _open_hdf5(path: Path) -> OpenStore:
    import hdf5plugin  # noqa: F401  # makes its compressors known to HDF5

    with h5py.File(path, "r") as file:
        schema = schema_of(file)
        told = _told(file, schema)
        attributes = {key: _plain(value) for key, value in file.attrs.items()}
        contiguous = file["data_10m"].chunks is None
    pixels: Pixels = RowReader(path) if contiguous else _Hdf5Chunks(path, schema)
    return OpenStore(path, schema, attributes, *told, pixels)


def _open_zarr(path: Path) -> OpenStore:
    from etl.store.object_store import load
    from etl.store.shards import ShardReader

    group = load(path)
    schema = schema_of(group, shown(path))
    return OpenStore(path, schema, dict(group.attrs), *_told(group, schema), ShardReader(path))


def _told(group: Any, schema: Schema) -> tuple[dict[str, npt.NDArray[Any]], dict[str, npt.NDArray[np.uint64]], bool]:
    """Columns, statistics and whether it is complete."""
    columns = {item.name: np.asarray(group[item.name][...]) for item in (*schema.identity, *schema.results)}
    named = [f"{path}/{name}" for path, _, _ in stats_names(schema) for name in STATS]
    stats = {name: np.asarray(group[name][...]) for name in named}
    return columns, stats, int(np.asarray(group["complete"][()])) == 1


def _plain(value: Any) -> Any:
    """An attribute as JSON has it."""
    return value.item() if isinstance(value, np.generic) else value.tolist() if isinstance(value, np.ndarray) else value


class _Hdf5Chunks:
    """Rows of a store in chunks, by way of HDF5."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self._file = h5py.File(path, "r", rdcc_nbytes=_CACHE_BYTES // len(schema.pixels))

    def read(self, item: DataSet, first: int, rows: int) -> npt.NDArray[np.uint16]:
        return np.asarray(self._file[item.name][first : first + rows])

    def close(self) -> None:
        self._file.close()
