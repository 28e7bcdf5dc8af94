"""A store's columns and what they must be like: names, types, dimensions, coordinates, values."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.schema import COMPLETE, REJECTED, SCHEMA_VERSION, SPLITS, UNWRITTEN, WRITTEN, DataSet, Schema, encoded
from etl.store.reader import StoreReader
from etl.verify.check import Check, Faults, judge

__all__ = ["Columns", "check_complete", "check_layout", "check_values", "read_columns", "row_name"]


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Everything of a store but its pixels."""

    path: Path
    """The store."""

    schema: Schema
    """Its data sets."""

    of: Mapping[str, npt.NDArray[Any]]
    """Identity and results by name, first axis patch."""

    statistics: dict[str, dict[str, npt.NDArray[np.object_]]]
    """By pixel array and statistic: Python integers of shape (split, band)."""

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


def read_columns(store: StoreReader) -> Columns:
    """Columns of a store that passed `check_layout`."""
    schema = store.schema
    statistics = {item.name: store.statistics(item.name) for item in schema.pixels}
    try:
        settings = dict(json.loads(store.attributes.get("settings", "{}")))
    except (ValueError, TypeError):
        settings = {}
    return Columns(store.path, schema, store.columns, statistics, int(store.column("complete")), settings)


def check_layout(store: StoreReader) -> Check:
    """Whether every data set is there with its type, shape, dimensions and coordinates; statistics by shape alone."""
    try:
        schema = store.schema
        wanted = _wanted(schema)
    except (ValueError, KeyError) as error:
        return Check("layout", False, str(error))
    faults = Faults()
    version = store.attributes.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        faults.add(f"schema_version must be {SCHEMA_VERSION}, got {version}")
    for item in wanted:
        for text in _misfits(store, item):
            faults.add(text)
    for item, values in schema.coordinates:
        if item.name in store and store.shape(item.name) == item.shape:
            found = store.column(item.name)
            if not np.array_equal(found, encoded(values, item.dtype)):
                faults.add(f"{item.name} must hold {_listed(values)}, got {_listed(found.tolist())}")
    return judge("layout", f"{len(wanted)} data sets, {schema.rows} rows, {schema.row_bytes} bytes a row", faults)


def _wanted(schema: Schema) -> list[DataSet]:
    sets = [*schema.identity, *schema.results, *schema.pixels, *(item for item, _ in schema.coordinates)]
    return [*sets, *(replace(item, dims=()) for item in schema.statistics), COMPLETE]


def _misfits(store: StoreReader, item: DataSet) -> Iterator[str]:
    if item.name not in store:
        yield f"{item.name} must be there"
        return
    shape, dtype = store.shape(item.name), store.dtype(item.name)
    if shape != item.shape or dtype != np.dtype(item.dtype):
        yield f"{item.name} must be {item.shape} of {np.dtype(item.dtype)}, got {shape} of {dtype}"
        return
    for axis, (dim, scales) in enumerate(zip(item.dims, store.axis_names(item.name), strict=False)):
        if dim != item.name and dim not in scales:
            yield f"{item.name} must have the scale {dim} on axis {axis}, got {', '.join(scales) or 'none'}"


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
