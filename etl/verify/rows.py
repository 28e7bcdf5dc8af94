"""Compare one rank's part of the rows with their checksums, and compute their statistics again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.schema import REJECTED, SPLITS, Schema
from etl.source.patch import pixel_shares
from etl.store.checksum import checksum, zero_row_checksum
from etl.store.errors import DamagedStoreError
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, row_sums
from etl.verify.check import Check, Faults, judge

__all__ = ["RowResults", "check_rows", "check_statistics"]


@dataclass(slots=True, eq=False)
class RowResults:
    """Results of checking rows, of one rank or merged over all."""

    sums: Sums
    """Statistics of the rows in state 1."""

    written: int = 0
    """Number of rows in state 1 that were compared with their checksums."""

    rejected: int = 0
    """Number of rows in state 2 that were read."""

    checksum_faults: Faults = field(default_factory=Faults)
    """Rows whose pixels do not match their checksum, or cannot be read."""

    rejected_faults: Faults = field(default_factory=Faults)
    """Rejected rows with pixels or a checksum that are not those of zeros."""

    copy_faults: Faults = field(default_factory=Faults)
    """Rows whose 10 m bands differ between `data_10m` and `data_super`."""

    share_faults: Faults = field(default_factory=Faults)
    """Rows in state 1 whose `nodata_share` is not that of their pixels."""

    def merge(self, other: "RowResults") -> None:
        """Add the results of the next rank."""
        self.sums.merge([other.sums.totals])
        self.written += other.written
        self.rejected += other.rejected
        for name in ("checksum_faults", "rejected_faults", "copy_faults", "share_faults"):
            getattr(self, name).merge(getattr(other, name))

    def checks(self, schema: Schema) -> list[Check]:
        """Results as checks: pixels of written and of rejected rows, shares, 10 m bands, which are stored twice."""
        checksums = judge("checksums", f"{self.written} rows", self.checksum_faults)
        if "checksum" in schema.absent and checksums.passed:
            checksums = Check("checksums", None, "the store has none")
        out = [
            checksums,
            judge("rejected rows", f"{self.rejected} rows, all pixels 0", self.rejected_faults),
        ]
        if schema.upsampled:
            good = f"the 10 m bands of data_super equal data_10m in {self.written} rows"
            out.append(judge("10 m copies", good, self.copy_faults))
        if schema.version == "1":
            out.append(Check("nodata shares", None, "stores of schema version 1 have none"))
        else:
            out.append(judge("nodata shares", f"{self.written} rows, each that of its pixels", self.share_faults))
        return out


def check_rows(store: Location, rows: Sequence[int], on_row: Callable[[int], None]) -> RowResults:
    """Check `rows`, ascending, each written or rejected, of the store at `store`.

    `on_row` is called with the number of rows done; statistics are exact integers, over uint16 pixels.

    Raises:
        OSError: the file is truncated.
    """
    with StoreReader(store, check=False) as reader:
        schema = reader.schema
        shares = () if schema.version == "1" else ("nodata_share",)
        columns = reader.read_columns(("patch", "state", "split", *shares))
        sums = None if "checksum" in schema.absent else reader.column("checksum")
        results = RowResults(Sums(schema.pixels))
        for k, row in enumerate(rows, start=1):
            name, stored = reader.row_name(row), None if sums is None else int(sums[row])
            try:
                parts = reader.row(row)
            except DamagedStoreError as error:
                results.checksum_faults.add(f"{name}: {error}")
                continue
            if columns["state"][row] == REJECTED:
                results.rejected += 1
                if any(part.any() for part in parts):
                    results.rejected_faults.add(f"{name}: rejected, but its pixels are not all 0")
                elif stored not in (None, zero_row_checksum(schema)):
                    results.rejected_faults.add(f"{name}: its checksum is not that of a row of zeros")
            else:
                _check_written(results, schema, name, parts, stored)
                if shares:
                    _check_nodata(results, schema, name, parts, columns["nodata_share"][row])
                for item, part in zip(schema.pixels, parts, strict=True):
                    # check_values reports a split that is out of range; the row is counted all the same
                    results.sums.add(
                        min(int(columns["split"][row]), len(SPLITS) - 1),
                        item.name,
                        row_sums(part, item.nodata, item.saturated),
                    )
            on_row(k)
    return results


def _check_written(
    results: RowResults, schema: Schema, name: str, parts: list[npt.NDArray[np.uint16]], stored: int | None
) -> None:
    """Compare a written row with its checksum, if it has one, and its two copies of the 10 m bands with each other."""
    results.written += 1
    counted = checksum(parts)
    if stored not in (None, counted):
        results.checksum_faults.add(f"{name}: stored {stored:016x}, its pixels give {counted:016x}")
    if schema.upsampled:
        # band by band: a fancy index would copy four strided planes
        for k, (band, place) in enumerate(zip(GROUPS[0].bands, GROUPS[0].super_index, strict=True)):
            if not np.array_equal(parts[0][..., k], parts[3][..., place]):
                results.copy_faults.add(f"{name}: data_super {band} is not data_10m {band}")


def _check_nodata(
    results: RowResults, schema: Schema, name: str, parts: list[npt.NDArray[np.uint16]], stored: np.float32
) -> None:
    """Compare the `nodata_share` of a written row with that of its native pixels, exactly."""
    planes = [part.transpose(2, 0, 1) for part in parts[: len(GROUPS)]]
    counted = np.float32(pixel_shares(planes, None, schema.pixels[0].nodata).nodata)
    if counted != stored:
        results.share_faults.add(f"{name}: nodata_share is {stored:.6f}, its pixels give {counted:.6f}")


def check_statistics(store: StoreReader, totals: dict[str, npt.NDArray[np.object_]]) -> Check:
    """Compare the stored statistics with those of the rows, exactly; `totals`: shape (split, statistic, band)."""
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
    return judge("statistics", f"{numbers} numbers, each exactly equal", faults)
