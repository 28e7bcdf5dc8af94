"""Taking up an interrupted run: what is finished, held against its checksums, and what is left.

Every finished row is read once, by all ranks between them: a row that the disk lost is found and done again, and the
statistics of the finished rows are gathered anew.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from etl.store.journal import Journal
from etl.store.rows import RowReader, blank_checksum, checksum, overwrite
from etl.store.schema import REJECTED, WRITTEN, Schema
from etl.store.sums import Sums, row_sums

__all__ = ["Found", "check_rows", "found", "reject"]


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


def found(path: Path, journal: Journal, begun_with: dict[str, Any]) -> Found:
    """What is in the store and its journal.

    Raises:
        ValueError: the store was begun with another catalogue, source or settings, or is no store.
    """
    differing = [key for key in begun_with if journal.begun_with.get(key) != begun_with[key]]
    if differing:
        said = "; ".join(f"{key} was {journal.begun_with.get(key)}, is {begun_with[key]}" for key in differing)
        raise ValueError(f"{path} can only be resumed with what it was begun with: {said}")
    try:
        with h5py.File(path, "r") as file:
            state, product, complete = file["state"][...], file["product"][...], bool(file["complete"][()])
    except (OSError, KeyError) as error:
        raise ValueError(f"{path} must be a store of etl.extract, and whole: {error}") from None
    done = np.zeros(len(state), bool)
    for first, stop in journal.ranges:
        done[first:stop] = True
    done &= (state == WRITTEN) | (state == REJECTED)
    # journalled as rejected and written since: tried again by a run that was killed before it could say so
    done[[row for row in journal.rejected if state[row] == WRITTEN]] = False
    return Found(complete, done, state, product)


def check_rows(path: Path, schema: Schema, rows: npt.NDArray[np.intp], sums: Sums) -> list[int]:
    """Rows of `rows` (state 1, ascending) that do not have their checksum; those that do are added to `sums`."""
    torn = []
    with RowReader(path) as reader, h5py.File(path, "r") as file:
        checksums, splits = file["checksum"], file["split"]
        for row in rows.tolist():
            parts = reader.row(row)
            if checksum(parts) != int(checksums[row]):
                torn.append(row)
                continue
            for item, part in zip(schema.pixels, parts, strict=True):
                sums.add(int(splits[row]), item.name, row_sums(part))
            sums.fold()
    return torn


def reject(path: Path, schema: Schema, rows: npt.NDArray[np.intp]) -> None:
    """Set unfinished rows, whatever stands in them, to state 2 with all pixels 0."""
    if len(rows):
        with RowReader(path) as reader:
            reader.blank(rows.tolist())
        blank = {"cloud_share": np.nan, "snow_share": np.nan, "checksum": blank_checksum(schema), "state": REJECTED}
        with h5py.File(path, "r") as file:
            columns = {name: file[name][...] for name in blank}
        for name, value in blank.items():
            columns[name][rows] = value
        overwrite(path, columns)
