"""Pixel rows held against their checksums, and their statistics counted anew; one rank's share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.schema import REJECTED, SPLITS, STATS, WRITTEN, DataSet, Schema
from etl.store.byte_ranges import TornError
from etl.store.checksum import checksum, zero_row_checksum
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums
from etl.verify.check import Check, Faults, judge
from etl.verify.columns import Columns, row_name

__all__ = ["RowsFound", "check_rows", "check_statistics"]

_FOLD_ROWS = 512


@dataclass(slots=True, eq=False)
class RowsFound:
    """What one rank, or all of them, found in the rows."""

    sums: dict[str, npt.NDArray[np.object_]]
    """Statistics of the rows in state 1, as `Sums.of`."""

    written: int = 0
    """Rows in state 1 that were held against their checksums."""

    rejected: int = 0
    """Rows in state 2 that were looked at."""

    checksums: Faults = field(default_factory=Faults)
    blanks: Faults = field(default_factory=Faults)
    copies: Faults = field(default_factory=Faults)

    def merge(self, other: "RowsFound") -> None:
        """Add what the next rank found."""
        self.sums = {name: total + other.sums[name] for name, total in self.sums.items()}
        self.written += other.written
        self.rejected += other.rejected
        for name in ("checksums", "blanks", "copies"):
            getattr(self, name).merge(getattr(other, name))

    def checks(self, schema: Schema) -> list[Check]:
        """The checks that follow."""
        out = [
            judge("checksums", f"{self.written} rows", self.checksums),
            judge("rejected rows", f"{self.rejected} rows, all pixels 0", self.blanks),
        ]
        if schema.upsampled:
            out.append(judge("10 m copies", f"data_super holds data_10m in {self.written} rows", self.copies))
        return out


def check_rows(
    path: Path, schema: Schema, first: int, settled: npt.NDArray[np.bool_], on_row: Callable[[int], None]
) -> RowsFound:
    """What is found in rows [first, first + len(settled)).

    Rows that are not `settled` may still be in the writing: they are passed over. `on_row` is called with the number of
    rows done.

    Raises:
        OSError: the file ends before.
    """
    stop = first + len(settled)
    sums = Sums(schema.pixels)
    found = RowsFound(sums.of)
    with StoreReader(path) as reader:
        columns = reader.read_columns(("patch", "state", "split", "checksum"))
        own = {name: column[first:stop] for name, column in columns.items()}
        for k in np.flatnonzero(settled & ((own["state"] == WRITTEN) | (own["state"] == REJECTED))).tolist():
            name, stored = row_name(first + k, own["patch"][k]), int(own["checksum"][k])
            try:
                parts = reader.row(first + k)
            except TornError as error:
                found.checksums.add(f"{name}: {error}")
                continue
            if own["state"][k] == REJECTED:
                _hold_blank(found, name, parts, stored == zero_row_checksum(schema))
            else:
                _hold(found, schema, name, parts, stored)
                for item, part in zip(schema.pixels, parts, strict=True):
                    sums.add(min(int(own["split"][k]), len(SPLITS) - 1), item.name, row_sums(part))
                if found.written % _FOLD_ROWS == 0:
                    sums.fold()
            on_row(k + 1)
    sums.fold()
    found.sums = sums.of
    return found


def _hold(found: RowsFound, schema: Schema, name: str, parts: list[npt.NDArray[np.uint16]], stored: int) -> None:
    """Hold a written row against its checksum, and its 10 m bands against each other."""
    found.written += 1
    counted = checksum(parts)
    if counted != stored:
        found.checksums.add(f"{name}: stored {stored:016x}, its pixels give {counted:016x}")
    if schema.upsampled:
        # band by band: a fancy index would copy four strided planes
        for k, place in enumerate(GROUPS[0].super_index):
            if not np.array_equal(parts[0][..., k], parts[3][..., place]):
                found.copies.add(f"{name}: data_super {GROUPS[0].bands[k]} is not data_10m {GROUPS[0].bands[k]}")


def _hold_blank(found: RowsFound, name: str, parts: list[npt.NDArray[np.uint16]], blank: bool) -> None:
    """Hold a rejected row against being empty."""
    found.rejected += 1
    if any(part.any() for part in parts):
        found.blanks.add(f"{name}: rejected, but its pixels are not all 0")
    elif not blank:
        found.blanks.add(f"{name}: its checksum is not that of a row of zeros")


def check_statistics(columns: Columns, sums: dict[str, npt.NDArray[np.object_]]) -> Check:
    """Whether the stored statistics are those of the rows, to the last digit."""
    if not columns.complete:
        return Check("statistics", None, "they are written when the store is complete")
    faults, numbers = Faults(), 0
    for item in columns.schema.pixels:
        for k, statistic in enumerate(STATS):
            stored, counted = columns.statistics[item.name][statistic], sums[item.name][:, k]
            numbers += stored.size
            for split, band in np.argwhere(stored != counted).tolist():
                where = f"{item.name} {_band(item, band)} {statistic} of split {SPLITS[split]}"
                faults.add(f"{where}: stored {stored[split, band]}, rows give {counted[split, band]}")
    return judge("statistics", f"{numbers} exact numbers", faults)


def _band(item: DataSet, band: int) -> str:
    by_name = {f"data_{group.name}": group.bands for group in GROUPS}
    return by_name[item.name][band] if item.name in by_name else f"band {band}"
