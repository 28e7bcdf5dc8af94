"""The pass over the pixels as a Dask graph: one task a worker, each of which reads its run of rows batch by batch."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from dask.base import compute
from dask.delayed import delayed

from etl.bands import GROUPS
from etl.stats.counts import Counts, groups_of
from etl.store.location import is_remote
from etl.store.reader import StoreReader

__all__ = ["NATIVE", "count_store"]

NATIVE = tuple(f"data_{group.name}" for group in GROUPS)
"""The pixel arrays that are counted: `data_super` holds the same values, and others interpolated between them."""


def count_store(store: StoreReader, workers: int, batch_rows: int, **how: Any) -> dict[str, Counts]:
    """Counts of the written rows by pixel array, from `workers` tasks; `how` is Dask's, e.g. the scheduler.

    Memory: a batch of pixels and one set of counts a worker.

    Raises:
        OSError: the store is truncated or torn.
    """
    member = groups_of(store.columns["split"], store.columns["classes"])
    parts = [rows for rows in np.array_split(store.written, workers) if len(rows)]
    if not parts:
        return _none(store, member.shape[1])
    count, merge = delayed(_count, pure=False), delayed(_merge, pure=False)
    path = store.path if is_remote(store.path) else store.path.resolve()
    found = [count(path, rows, member[rows], batch_rows) for rows in parts]
    while len(found) > 1:
        pairs = [merge(*found[k : k + 2]) for k in range(0, len(found) - 1, 2)]
        found = pairs + found[2 * len(pairs) :]
    (total,) = compute(found[0], **how)
    return dict(total)


def _none(store: StoreReader, groups: int) -> dict[str, Counts]:
    return {item.name: Counts(groups, item.shape[-1]) for item in store.schema.pixels if item.name in NATIVE}


def _count(path: Path, rows: npt.NDArray[np.intp], member: npt.NDArray[np.bool_], batch_rows: int) -> dict[str, Counts]:
    with StoreReader(path) as store:
        found = _none(store, member.shape[1])
        pixels = [item for item in store.schema.pixels if item.name in NATIVE]
        for first in range(0, len(rows), batch_rows):
            mine = slice(first, first + batch_rows)
            for item in pixels:
                found[item.name].add(store.read(item.name, rows[mine]), member[mine])
    return found


def _merge(one: dict[str, Counts], other: dict[str, Counts]) -> dict[str, Counts]:
    return {name: counts.merge(other[name]) for name, counts in one.items()}
