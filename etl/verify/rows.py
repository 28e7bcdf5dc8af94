"""Pixel rows held against their checksums, and their statistics counted anew; one rank's share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.schema import REJECTED, SPLITS, Schema
from etl.store.checksum import checksum, zero_row_checksum
from etl.store.errors import DamagedStoreError
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums
from etl.verify.check import Check, Faults, judge

__all__ = ["RowsFound", "check_rows", "check_statistics"]

_BATCH_ROWS = 512  # int64 holds the sums of squares of 1,024 rows


@dataclass(slots=True, eq=False)
class RowsFound:
    """What one rank, or all of them, found in the rows."""

    sums: Sums
    """Statistics of the rows in state 1."""

    written: int = 0
    """Rows in state 1 that were held against their checksums."""

    rejected: int = 0
    """Rows in state 2 that were looked at."""

    checksums: Faults = field(default_factory=Faults)
    blanks: Faults = field(default_factory=Faults)
    copies: Faults = field(default_factory=Faults)

    def merge(self, other: "RowsFound") -> None:
        """Add what the next rank found."""
        self.sums.merge([other.sums.totals])
        self.written += other.written
        self.rejected += other.rejected
        for name in ("checksums", "blanks", "copies"):
            getattr(self, name).merge(getattr(other, name))

    def checks(self) -> list[Check]:
        """The checks that follow: of the pixels of written and of rejected rows, and of 10 m bands stored twice."""
        out = [
            judge("checksums", f"{self.written} rows", self.checksums),
            judge("rejected rows", f"{self.rejected} rows, all pixels 0", self.blanks),
        ]
        if "data_super" in self.sums.totals:
            out.append(judge("10 m copies", f"data_super holds data_10m in {self.written} rows", self.copies))
        return out


def check_rows(store: Location, rows: Sequence[int], on_row: Callable[[int], None]) -> RowsFound:
    """What is found in `rows`, ascending, which are written or rejected, of the store at `store`.

    `on_row` is called with the number of rows done; statistics are exact integers, over uint16 pixels.

    Raises:
        OSError: the file ends before.
    """
    with StoreReader(store) as reader:
        columns, schema = reader.read_columns(("patch", "state", "split", "checksum")), reader.schema
        found = RowsFound(Sums(schema.pixels))
        for k, row in enumerate(rows, start=1):
            name, stored = reader.row_name(row), int(columns["checksum"][row])
            try:
                parts = reader.row(row)
            except DamagedStoreError as error:
                found.checksums.add(f"{name}: {error}")
                continue
            if columns["state"][row] == REJECTED:
                found.rejected += 1
                if any(part.any() for part in parts):
                    found.blanks.add(f"{name}: rejected, but its pixels are not all 0")
                elif stored != zero_row_checksum(schema):
                    found.blanks.add(f"{name}: its checksum is not that of a row of zeros")
            else:
                _check_written(found, schema, name, parts, stored)
                for item, part in zip(schema.pixels, parts, strict=True):
                    # a split that is none is a fault of check_values; the row is counted all the same
                    found.sums.add(min(int(columns["split"][row]), len(SPLITS) - 1), item.name, row_sums(part))
                if found.written % _BATCH_ROWS == 0:
                    found.sums.add_batch_to_totals()
            on_row(k)
    found.sums.add_batch_to_totals()
    return found


def _check_written(
    found: RowsFound, schema: Schema, name: str, parts: list[npt.NDArray[np.uint16]], stored: int
) -> None:
    """Hold a written row against its checksum, and its 10 m bands against each other."""
    found.written += 1
    counted = checksum(parts)
    if counted != stored:
        found.checksums.add(f"{name}: stored {stored:016x}, its pixels give {counted:016x}")
    if schema.upsampled:
        # band by band: a fancy index would copy four strided planes
        for k, (band, place) in enumerate(zip(GROUPS[0].bands, GROUPS[0].super_index, strict=True)):
            if not np.array_equal(parts[0][..., k], parts[3][..., place]):
                found.copies.add(f"{name}: data_super {band} is not data_10m {band}")


def check_statistics(store: StoreReader, totals: dict[str, npt.NDArray[np.object_]]) -> Check:
    """Whether the stored statistics are those of the rows, to the last digit; `totals` as `Sums.totals`."""
    if not store.complete:
        return Check("statistics", None, "they are written when the store is complete")
    faults, numbers = Faults(), 0
    for item in store.schema.pixels:
        bands = store.text(item.dims[-1])
        for k, (statistic, stored) in enumerate(store.statistics(item.name).items()):
            counted = totals[item.name][:, k]
            numbers += stored.size
            for split, band in np.argwhere(stored != counted).tolist():
                where = f"{item.name} {bands[band]} {statistic} of split {SPLITS[split]}"
                faults.add(f"{where}: stored {stored[split, band]}, rows give {counted[split, band]}")
    return judge("statistics", f"{numbers} exact numbers", faults)
