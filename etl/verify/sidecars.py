"""Compare the files beside a store, the journal and `rejected.csv`, with the state of its rows."""

import csv
import io

import numpy as np
import numpy.typing as npt

from etl.schema import REJECTED, UNWRITTEN
from etl.store.journal import Journal, journal_location
from etl.store.reader import StoreReader
from etl.store.sidecar import read_file
from etl.tables import unquote_cell
from etl.verify.check import Check, Faults, judge

__all__ = ["check_journal", "check_rejected_list"]


def check_journal(store: StoreReader) -> tuple[Check, npt.NDArray[np.bool_]]:
    """Compare the journal with the state of the rows; also return which rows' pixels are to be checked.

    These are all rows of a complete store, else the journalled ones: bool, shape (patch,). Other rows of an incomplete
    store may have been written without being journalled yet, which is not a fault.
    """
    path, rows, state, faults = journal_location(store.location), store.schema.rows, store.column("state"), Faults()
    rejected, all_rows = np.zeros(rows, bool), np.ones(rows, bool)
    if read_file(path) is None:
        needed = "" if store.complete else ", and an incomplete store cannot be resumed without it"
        return Check("journal", False if needed else None, f"{path.name} is not beside the store{needed}"), all_rows
    try:
        journal = Journal.read(path)
    except ValueError as error:
        return Check("journal", False, str(error)), all_rows
    finished = journal.finished_rows(rows)
    last = journal.ranges[-1].stop if journal.ranges else 0
    if last > rows:
        faults.add(f"{path.name} names rows up to {last}, the store has {rows}")
    rejected_rows = journal.rejected.rows
    rejected[rejected_rows[rejected_rows < rows]] = True
    faulty = {
        "is journalled as finished and is not written": finished & ~rejected & (state == UNWRITTEN),
        "is rejected, which the journal does not say": finished & ~rejected & (state == REJECTED),
    }
    if store.complete:
        faulty["is not journalled"] = ~finished
        faulty["is journalled as rejected and is not"] = rejected & (state != REJECTED)
    for what, which in faulty.items():
        faults.extend(f"{store.row_name(row)} {what}" for row in np.flatnonzero(which).tolist())
    counts = f"{int(finished.sum())} rows finished, {int(rejected.sum())} of them rejected"
    return judge("journal", counts, faults), all_rows if store.complete else finished


def check_rejected_list(store: StoreReader) -> Check:
    """Check that `rejected.csv` lists the rejected rows, each with a reason, and no others."""
    path = store.location.with_suffix(".rejected.csv")
    rejected = set(np.flatnonzero(store.column("state") == REJECTED).tolist())
    if not store.complete:
        return Check("rejected list", None, "it is written when the store is complete")
    data = read_file(path)
    if data is None:
        missing = bool(rejected) and read_file(journal_location(store.location)) is not None
        detail = f"{path.name} is not beside the store, which has {len(rejected)} rejected rows"
        return Check("rejected list", False if missing else None, detail)
    faults, listed = Faults(), set()
    for cells in csv.DictReader(io.StringIO(data.decode(errors="replace"), newline="")):
        line = {name: unquote_cell(cell) for name, cell in cells.items() if isinstance(cell, str)}
        # -1 if it is not a number: it matches no row and becomes a fault
        row = int(line["row"]) if (line.get("row") or "").isdecimal() else -1
        listed.add(row)
        if row not in rejected:
            faults.add(f"{path.name} lists row {line.get('row')} {line.get('patch')}, which is not rejected")
        elif line.get("patch") != store.column("patch")[row].decode() or not line.get("reason"):
            got = f"{line.get('patch')}: {line.get('reason')}"
            faults.add(f"{store.row_name(row)} must be listed under its name with a reason, got {got}")
    lacking = sorted(rejected - listed)
    faults.extend(f"{store.row_name(row)} is rejected, {path.name} does not list it" for row in lacking)
    return judge("rejected list", f"{len(rejected)} rows, each with its reason", faults)
