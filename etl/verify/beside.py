"""What lies beside a store, the journal and `rejected.csv`, held against the state of its rows."""

import csv
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.schema import REJECTED, UNWRITTEN
from etl.store.journal import Journal, journal_path
from etl.store.sidecar import read_file
from etl.verify.check import Check, Faults, judge
from etl.verify.columns import Columns

__all__ = ["check_journal", "check_rejected_list", "finished_rows", "read_journal"]


def read_journal(store: Path) -> Journal | None:
    """The journal beside `store` as it stands, or None where there is none.

    Raises:
        ValueError: it is no journal.
    """
    path = journal_path(store)
    return Journal.read(path) if read_file(path) is not None else None


def finished_rows(journal: Journal, rows: int) -> npt.NDArray[np.bool_]:
    """Whether the journal names each row as finished, shape (patch,)."""
    finished = np.zeros(rows, bool)
    for first, stop in journal.ranges:
        finished[first:stop] = True
    return finished


def check_journal(columns: Columns, journal: Journal | None) -> Check:
    """Whether the journal names the rows that are there, and as rejected those that are.

    Of an incomplete store, rows that are written and not journalled yet are as they should be.
    """
    path, rows = journal_path(columns.path), columns.schema.rows
    if journal is None:
        needed = "" if columns.complete else ", and an incomplete store cannot be resumed without it"
        return Check("journal", False if needed else None, f"{path.name} is not beside the store{needed}")
    faults, state = Faults(), columns.state
    beyond = [f"[{first}, {stop})" for first, stop in journal.ranges if not 0 <= first <= stop <= rows]
    for text in beyond:
        faults.add(f"{path.name} names rows {text}, the store has {rows}")
    finished = finished_rows(journal, rows)
    rejected = np.zeros(rows, bool)
    rejected[[row for row in journal.rejected if 0 <= row < rows]] = True
    doubts = {
        "is journalled as finished and is not written": finished & ~rejected & (state == UNWRITTEN),
        "is rejected, which the journal does not say": finished & ~rejected & (state == REJECTED),
    }
    if columns.complete:
        doubts["is not journalled"] = ~finished
        doubts["is journalled as rejected and is not"] = rejected & (state != REJECTED)
    for what, which in doubts.items():
        for row in np.flatnonzero(which).tolist():
            faults.add(f"{columns.name(row)} {what}")
    return judge("journal", f"{int(finished.sum())} rows finished, {int(rejected.sum())} of them rejected", faults)


def check_rejected_list(columns: Columns) -> Check:
    """Whether `rejected.csv` lists the rejected rows with a reason, and no others."""
    path = columns.path.with_name(columns.path.stem + ".rejected.csv")
    rejected = set(np.flatnonzero(columns.state == REJECTED).tolist())
    if not columns.complete:
        return Check("rejected list", None, "it is written when the store is complete")
    data = read_file(path)
    if data is None:
        missing = bool(rejected) and read_file(journal_path(columns.path)) is not None
        detail = f"{path.name} is not beside the store, which has {len(rejected)} rejected rows"
        return Check("rejected list", False if missing else None, detail)
    faults, listed = Faults(), set()
    for line in csv.DictReader(io.StringIO(data.decode(), newline="")):
        row = int(line["row"]) if (line.get("row") or "").isdecimal() else -1
        listed.add(row)
        if row not in rejected:
            faults.add(f"{path.name} lists row {line.get('row')} {line.get('patch')}, which is not rejected")
        elif line.get("patch") != columns.of["patch"][row].decode() or not line.get("reason"):
            got = f"{line.get('patch')}: {line.get('reason')}"
            faults.add(f"{columns.name(row)} must be listed under its name with a reason, got {got}")
    for row in sorted(rejected - listed):
        faults.add(f"{columns.name(row)} is rejected, {path.name} does not list it")
    return judge("rejected list", f"{len(rejected)} rows, each with its reason", faults)
