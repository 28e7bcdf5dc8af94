"""Taking up an interrupted run: what is finished, held against its checksums, and what is left.

Every finished row is read once, by all ranks between them: a row that the disk lost is found and done again, and the
statistics of the finished rows are gathered anew.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from etl.schema import REJECTED, WRITTEN, Schema
from etl.store.backend import Backend
from etl.store.byte_ranges import TornError
from etl.store.checksum import checksum, zero_row_checksum
from etl.store.journal import Journal
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums

__all__ = ["Found", "check_rows", "deal_shards", "found", "reject", "whole_shards"]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What an interrupted run left."""

    complete: bool
    """Whether the run had finished."""

    done: npt.NDArray[np.bool_]
    """Rows that the journal names as finished, shape (patch,)."""

    state: npt.NDArray[np.uint8]
    """State of each row, shape (patch,)."""

    product: npt.NDArray[np.bytes_]
    """Product of each row, shape (patch,)."""


def found(store: Backend, path: Path, journal: Journal, begun_with: dict[str, Any]) -> Found:
    """What is in the store and its journal.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is no store.
    """
    differing = [key for key in begun_with if journal.fingerprint.get(key) != begun_with[key]]
    if differing:
        said = "; ".join(f"{key} was {journal.fingerprint.get(key)}, is {begun_with[key]}" for key in differing)
        raise ValueError(f"{path} can only be resumed with what it was begun with: {said}")
    columns = store.reader().read_columns(("state", "product", "complete"))
    state, product = columns["state"], columns["product"]
    done = np.zeros(len(state), bool)
    for first, stop in journal.ranges:
        done[first:stop] = True
    done &= (state == WRITTEN) | (state == REJECTED)
    # journalled as rejected and written since: tried again by a run that was killed before it could say so
    done[[row for row in journal.rejected if state[row] == WRITTEN]] = False
    return Found(bool(columns["complete"]), done, state, product)


def whole_shards(
    pending: npt.NDArray[np.bool_], settled: npt.NDArray[np.bool_], shard_rows: int
) -> npt.NDArray[np.bool_]:
    """`pending` and what shares a shard with it, shape (patch,), but for rejected rows that are `settled`."""
    shard = np.arange(len(pending)) // shard_rows
    touched = np.bincount(shard, weights=pending) > 0
    return touched[shard] & ~settled


def deal_shards(rows: npt.NDArray[np.intp], shard_rows: int, ranks: int) -> list[npt.NDArray[np.intp]]:
    """Ascending `rows` dealt over ranks, those of one shard to one rank."""
    shards, shard = np.unique(rows // shard_rows, return_inverse=True)
    parts = np.array_split(np.arange(len(shards)), ranks)
    return [rows[(shard >= part[0]) & (shard <= part[-1])] if len(part) else rows[:0] for part in parts]


def check_rows(store: Backend, schema: Schema, rows: npt.NDArray[np.intp], shard_rows: int, sums: Sums) -> list[int]:
    """Rows of `rows` (state 1, ascending) that do not have their checksum, or share a shard with one that has not; the
    others are added to `sums`.
    """
    torn: list[int] = []
    with store.reader() as reader:
        columns = reader.read_columns(("checksum", "split"))
        for first, stop in _shards(rows, shard_rows):
            found = [_row_sums(reader, schema, row, int(columns["checksum"][row])) for row in rows[first:stop].tolist()]
            if None in found:
                torn += rows[first:stop].tolist()
                continue
            for row, parts in zip(rows[first:stop].tolist(), found, strict=True):
                for item, part in zip(schema.pixels, parts or (), strict=True):
                    sums.add(int(columns["split"][row]), item.name, part)
                sums.fold()
    return torn


def _shards(rows: npt.NDArray[np.intp], shard_rows: int) -> list[tuple[int, int]]:
    """Places [first, stop) in `rows` of the rows of each shard."""
    edges = [0, *(np.flatnonzero(np.diff(rows // shard_rows)) + 1).tolist(), len(rows)]
    return list(pairwise(edges)) if len(rows) else []


def _row_sums(reader: StoreReader, schema: Schema, row: int, wanted: int) -> list[npt.NDArray[np.int64]] | None:
    """Statistics of each pixel data set of a row, or None where its pixels are not those of its checksum."""
    try:
        parts = reader.row(row)
    except TornError:
        return None
    return [row_sums(part) for part in parts] if checksum(parts) == wanted else None


def reject(store: Backend, schema: Schema, rows: npt.NDArray[np.intp]) -> None:
    """Set unfinished rows, whatever stands in them, to state 2 with all pixels 0."""
    if len(rows):
        store.zero_rows(rows.tolist())
        zeroed = {"cloud_share": np.nan, "snow_share": np.nan, "checksum": zero_row_checksum(schema), "state": REJECTED}
        columns = dict(store.reader().read_columns(zeroed))
        for name, value in zeroed.items():
            columns[name][rows] = value
        store.overwrite(columns)
