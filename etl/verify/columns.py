"""A store's columns and what they must be like: names, types, dimensions, coordinates, values."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from etl.schema import REJECTED, SCHEMA_VERSION, SPLITS, STATS, UNWRITTEN, WRITTEN, DataSet, Schema
from etl.store.hdf5 import stats_names
from etl.store.location import shown
from etl.store.rows import schema_of
from etl.verify.check import Check, Faults, judge

__all__ = ["Columns", "check_complete", "check_layout", "check_values", "read_columns", "row_name"]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Everything of a store but its pixels."""

    path: Path
    """The store."""

    schema: Schema
    """Its data sets."""

    of: dict[str, npt.NDArray[Any]]
    """Identity and results by name, first axis patch."""

    stats: dict[str, npt.NDArray[np.uint64]]
    """By path, e.g. `data_10m/sum`: shape (split, band, word), high before low."""

    complete: int
    """1 once the run has finished."""

    settings: dict[str, str]
    """Settings of the run that made it, as it says itself; empty where it does not."""

    @property
    def state(self) -> npt.NDArray[np.uint8]:
        """State of each row."""
        return self.of["state"]

    def name(self, row: int) -> str:
        """The row and its patch, for messages."""
        return row_name(row, self.of["patch"][row])


def row_name(row: int, patch: bytes) -> str:
    """A row and its patch, for messages."""
    return f"row {row} {patch.decode(errors='replace')}"


def read_columns(file: Any, path: Path) -> Columns:
    """Columns of an open store, an h5py.File or a zarr.Group, that passed `check_layout`."""
    schema = schema_of(file, shown(path))
    of = {item.name: file[item.name][...] for item in (*schema.identity, *schema.results)}
    stats = {f"{item.name}/{name}": file[f"stats/{item.name}/{name}"][...] for item in schema.pixels for name in STATS}
    try:
        settings = dict(json.loads(file.attrs.get("settings", "{}")))
    except (ValueError, TypeError):
        settings = {}
    return Columns(path, schema, of, stats, int(file["complete"][()]), settings)


def check_layout(file: Any, path: Path) -> Check:
    """Whether every data set is there with its type, shape, dimensions and coordinates; statistics by shape alone."""
    try:
        schema = schema_of(file, shown(path))
        wanted = _wanted(schema)
    except (ValueError, KeyError) as error:
        return Check("layout", False, str(error))
    faults = Faults()
    version = file.attrs.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        faults.add(f"schema_version must be {SCHEMA_VERSION}, got {version}")
    for item in wanted:
        for text in _misfits(file, item):
            faults.add(text)
    for item, values in schema.coordinates:
        if item.name in file and file[item.name].shape == item.shape:
            want = np.array([v.encode() if isinstance(v, str) else v for v in values], item.dtype)
            if not np.array_equal(file[item.name][...], want):
                faults.add(f"{item.name} must hold {_listed(values)}, got {_listed(file[item.name][...].tolist())}")
    return judge("layout", f"{len(wanted)} data sets, {schema.rows} rows, {schema.row_bytes} bytes a row", faults)


def _wanted(schema: Schema) -> list[DataSet]:
    sets = [*schema.identity, *schema.results, *schema.pixels, *(item for item, _ in schema.coordinates)]
    for path, _, bands in stats_names(schema):
        sets += [DataSet(f"{path}/{name}", (), (len(SPLITS), bands, 2), "<u8") for name in STATS]
    return [*sets, DataSet("complete", (), (), "|u1")]


def _misfits(file: Any, item: DataSet) -> Iterator[str]:
    found = file.get(item.name)
    if not hasattr(found, "dtype"):
        yield f"{item.name} must be there"
        return
    if found.shape != item.shape or found.dtype != np.dtype(item.dtype):
        yield f"{item.name} must be {item.shape} of {np.dtype(item.dtype)}, got {found.shape} of {found.dtype}"
        return
    for axis, dim in enumerate(item.dims):
        scales = _scales(found, axis)
        if dim != item.name and dim not in scales:
            yield f"{item.name} must have the scale {dim} on axis {axis}, got {', '.join(scales) or 'none'}"


def _scales(found: Any, axis: int) -> list[str]:
    """Names that an axis has: HDF5's dimension scales, or Zarr's dimension name."""
    if isinstance(found, h5py.Dataset):
        return [scale.name.rsplit("/", 1)[-1] for scale in found.dims[axis].values()]
    name = (found.metadata.dimension_names or (None,) * found.ndim)[axis]
    return [name] if name else []


def _listed(values: Any) -> str:
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return ", ".join(texts[:12]) + (", ..." if len(texts) > 12 else "")


def check_complete(columns: Columns) -> Check:
    """Whether the run that made the store has finished, and every row with it."""
    missing, written, rejected = (int((columns.state == value).sum()) for value in (UNWRITTEN, WRITTEN, REJECTED))
    counts = f"{written} rows written, {rejected} rejected, {missing} not written"
    if columns.complete == 1 and not missing:
        return Check("complete", True, counts)
    if columns.complete == 1:
        return Check("complete", False, f"the store says that it is complete, but is not: {counts}")
    return Check("complete", False, f"incomplete: {counts}; python -m etl.extract --resume completes it")


def check_values(columns: Columns) -> Check:
    """Whether every column holds only what it may hold."""
    of, faults = columns.of, Faults()
    if columns.complete > 1:
        faults.add(f"complete must be 0 or 1, got {columns.complete}")
    for name, most in (("state", REJECTED), ("split", len(SPLITS) - 1), ("classes", 1)):
        bad = of[name] > most
        for row in np.flatnonzero(bad.reshape(len(bad), -1).any(1)).tolist():
            faults.add(f"{columns.name(row)}: {name} must be at most {most}, got {int(of[name][row].max())}")
    for name in ("cloud_share", "snow_share"):
        share = of[name]
        settled = columns.state != UNWRITTEN
        for row in np.flatnonzero(settled & ~(np.isnan(share) | ((share >= 0) & (share <= 1)))).tolist():
            faults.add(f"{columns.name(row)}: {name} must lie in [0, 1], got {share[row]}")
    for row in np.flatnonzero(of["patch"] == b"").tolist():
        faults.add(f"row {row}: patch must have a name")
    return judge("values", f"state, split, classes, shares and names of {columns.schema.rows} rows", faults)
