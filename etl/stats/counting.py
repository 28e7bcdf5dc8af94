"""Count pixels as a Dask graph: one task for each worker, which reads its part of the rows batch by batch."""

from typing import Any

import numpy as np
import numpy.typing as npt
from dask.base import compute
from dask.delayed import delayed

from etl.stats.counts import ValueCounts, group_membership
from etl.store.location import Location
from etl.store.reader import StoreReader

__all__ = ["count_store"]


def count_store(store: StoreReader, workers: int, batch_rows: int, **dask_options: Any) -> dict[str, ValueCounts]:
    """Return counts of the written rows by pixel array, from `workers` tasks of `batch_rows` patches at a time.

    `dask_options` are for Dask's `compute`, e.g. the scheduler. Each worker needs memory for a batch of pixels and one
    set of counts.

    Raises:
        OSError: the store is truncated or damaged.
    """
    store.require_shards([item.name for item in store.schema.optical], store.written)
    member = group_membership(store.columns["split"], store.columns["classes"])
    parts = [rows for rows in np.array_split(store.written, workers) if len(rows)] or [store.written]
    count, merge = delayed(_count_rows, pure=False), delayed(_merge, pure=False)
    location = store.location.absolute()  # a worker may run in another folder
    tasks = [count(location, rows, member[rows], batch_rows) for rows in parts]
    while len(tasks) > 1:
        pairs = [merge(*tasks[k : k + 2]) for k in range(0, len(tasks) - 1, 2)]
        tasks = pairs + tasks[2 * len(pairs) :]
    (total,) = compute(tasks[0], **dask_options)
    return dict(total)


def _count_rows(
    location: Location, rows: npt.NDArray[np.intp], member: npt.NDArray[np.bool_], batch_rows: int
) -> dict[str, ValueCounts]:
    with StoreReader(location) as store:
        # `data_super` is not counted: it holds the same values and interpolated ones
        total = {
            item.name: ValueCounts(member.shape[1], item.shape[-1], item.nodata, item.saturated)
            for item in store.schema.optical
        }
        for first in range(0, len(rows), batch_rows):
            batch = slice(first, first + batch_rows)
            for name, counts in total.items():
                counts.add(store.read(name, rows[batch]), member[batch])
    return total


def _merge(left: dict[str, ValueCounts], right: dict[str, ValueCounts]) -> dict[str, ValueCounts]:
    return {name: counts.merge(right[name]) for name, counts in left.items()}
