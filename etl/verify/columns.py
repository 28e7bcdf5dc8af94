"""A store's columns and what they must be like: names, types, dimensions, coordinates, values."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from etl.schema import COMPLETE, REJECTED, SCHEMA_VERSION, SPLITS, UNWRITTEN, DataSet, Schema, encoded
from etl.store.reader import StoreReader
from etl.verify.check import Check, Faults, judge

__all__ = ["check_complete", "check_layout", "check_values"]


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
        faults.extend(_misfits(store, item))
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
    # not strict: statistics come without dims, because their scales are not looked at
    for axis, (dim, scales) in enumerate(zip(item.dims, store.axis_names(item.name), strict=False)):
        if dim != item.name and dim not in scales:
            yield f"{item.name} must have the scale {dim} on axis {axis}, got {', '.join(scales) or 'none'}"


def _listed(values: Any) -> str:
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return ", ".join(texts[:12]) + (", ..." if len(texts) > 12 else "")


def check_complete(store: StoreReader) -> Check:
    """Whether the run that made the store has finished, and every row with it."""
    missing, written, rejected = np.bincount(store.column("state"), minlength=3)[:3].tolist()  # by state: 0, 1, 2
    counts = f"{written} rows written, {rejected} rejected, {missing} not written"
    if not store.complete:
        return Check("complete", False, f"incomplete: {counts}; python -m etl.extract --resume completes it")
    said = f"the store says that it is complete, but is not: {counts}"
    return Check("complete", False, said) if missing else Check("complete", True, counts)


def check_values(store: StoreReader) -> Check:
    """Whether every column, shape (patch, ...), holds only what it may hold: known flags, shares in [0, 1]."""
    faults, complete, patch = Faults(), int(store.column("complete")), store.column("patch")
    if complete > 1:
        faults.add(f"complete must be 0 or 1, got {complete}")
    for name, most in (("state", REJECTED), ("split", len(SPLITS) - 1), ("classes", 1)):
        found = store.column(name).reshape(len(patch), -1).max(1)
        rows = np.flatnonzero(found > most).tolist()
        faults.extend(f"{store.row_name(row)}: {name} must be at most {most}, got {found[row]}" for row in rows)
    for name in ("cloud_share", "snow_share"):
        share = store.column(name)
        good = np.isnan(share) | ((share >= 0) & (share <= 1)) | (store.column("state") == UNWRITTEN)
        rows = np.flatnonzero(~good).tolist()
        faults.extend(f"{store.row_name(row)}: {name} must lie in [0, 1], got {share[row]}" for row in rows)
    faults.extend(f"row {row}: patch must have a name" for row in np.flatnonzero(patch == b"").tolist())
    return judge("values", f"state, split, classes, shares and names of {len(patch)} rows", faults)
