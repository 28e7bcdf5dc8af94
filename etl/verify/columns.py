"""Check a store's columns: names, types, dimensions, coordinates, values."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from etl.schema import COMPLETE, READABLE_VERSIONS, REJECTED, SPLITS, UNWRITTEN, DataSet, encoded
from etl.store.reader import StoreReader
from etl.verify.check import Check, Faults, judge

__all__ = ["check_complete", "check_layout", "check_values"]


def check_layout(store: StoreReader) -> Check:
    """Check dtype, shape, dimensions and coordinates of every data set; of statistics dtype and shape alone."""
    try:
        schema = store.schema
        coordinates = schema.coordinates
    except (ValueError, KeyError) as error:
        return Check("layout", False, str(error))
    statistics = (replace(item, dims=()) for item in schema.statistics)  # their scales are not checked
    columns = (*schema.identity, *schema.results, *schema.pixels, *(item for item, _ in coordinates))
    if schema.absent:  # another program need not write dimension scales
        columns = tuple(replace(item, dims=()) for item in columns)
    digests = (replace(item, dims=()) for item in schema.digests if item.name in store)  # older stores have none
    expected, faults = [*columns, *statistics, *digests, COMPLETE], Faults()
    version = str(store.attributes.get("schema_version", schema.version))
    if version not in READABLE_VERSIONS:
        faults.add(f"schema_version must be {' or '.join(READABLE_VERSIONS)}, got {version}")
    elif version != schema.version:
        faults.add(f"schema_version must be {schema.version}, that of the store's arrays, got {version}")
    for item in expected:
        faults.extend(_misfits(store, item))
    for item, values in coordinates:
        if item.name in store and store.shape(item.name) == item.shape:
            stored = store.column(item.name)
            if not np.array_equal(stored, encoded(values, item.dtype)):
                faults.add(f"{item.name} must hold {_listed(values)}, got {_listed(stored.tolist())}")
    return judge("layout", f"{len(expected)} data sets, {schema.rows} rows, {schema.row_bytes} bytes a row", faults)


def _misfits(store: StoreReader, item: DataSet) -> Iterator[str]:
    if item.name not in store:
        yield f"{item.name} must be there"
        return
    shape, dtype = store.shape(item.name), store.dtype(item.name)
    if shape != item.shape or dtype != np.dtype(item.dtype):
        yield f"{item.name} must be {item.shape} of {np.dtype(item.dtype)}, got {shape} of {dtype}"
        return
    # not strict: statistics come without dims
    for axis, (dim, scales) in enumerate(zip(item.dims, store.axis_names(item.name), strict=False)):
        if dim != item.name and dim not in scales:
            yield f"{item.name} must have the scale {dim} on axis {axis}, got {', '.join(scales) or 'none'}"


def _listed(values: Any) -> str:
    texts = [value.decode(errors="replace") if isinstance(value, bytes) else str(value) for value in values]
    return ", ".join(texts[:12]) + (", ..." if len(texts) > 12 else "")


def check_complete(store: StoreReader) -> Check:
    """Check that the run that made the store has finished, with every row, and has written some."""
    missing, written, rejected = np.bincount(store.column("state"), minlength=3)[:3].tolist()  # by state: 0, 1, 2
    counts = f"{written} rows written, {rejected} rejected, {missing} not written"
    if store.complete and not written and not missing:
        return Check("written rows", False, f"none: {rejected} rejected; the rejected list says why")
    if not store.complete:
        return Check("complete", False, f"incomplete: {counts}; python -m etl.extract --resume completes it")
    if missing:
        return Check("complete", False, f"the store says that it is complete, but is not: {counts}")
    return Check("complete", True, counts)


def check_values(store: StoreReader) -> Check:
    """Check the values of every column, shape (patch, ...): known flags, fractions in [0, 1], names not empty."""
    faults, complete, patch = Faults(), int(store.column("complete")), store.column("patch")
    if complete > 1:
        faults.add(f"complete must be 0 or 1, got {complete}")
    for name, most in (("state", REJECTED), ("split", len(SPLITS) - 1), ("classes", 1)):
        largest = store.column(name).reshape(len(patch), -1).max(1, initial=0)
        rows = np.flatnonzero(largest > most).tolist()
        faults.extend(f"{store.row_name(row)}: {name} must be at most {most}, got {largest[row]}" for row in rows)
    store.forget("classes")
    for name in [item.name for item in store.schema.results if item.name.endswith("_share")]:
        share = store.column(name)
        valid = np.isnan(share) | ((share >= 0) & (share <= 1)) | (store.column("state") == UNWRITTEN)
        rows = np.flatnonzero(~valid).tolist()
        faults.extend(f"{store.row_name(row)}: {name} must lie in [0, 1], got {share[row]}" for row in rows)
    faults.extend(f"row {row}: patch must have a name" for row in np.flatnonzero(patch == b"").tolist())
    return judge("values", f"state, split, classes, shares and names of {len(patch)} rows", faults)
