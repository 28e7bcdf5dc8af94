"""One verification, from settings to verdict: rank 0 looks at columns and lists, all ranks read rows between them."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.exit_status import ExitStatus, JobError
from etl.mpi import Comm, agree, on_root
from etl.progress import report_progress
from etl.store.hdf5.reader import is_hdf5
from etl.store.journal import Journal
from etl.store.location import format_of, is_remote, shown
from etl.store.reader import StoreReader
from etl.verify import pixels
from etl.verify.beside import check_journal, check_rejected_list, finished_rows, read_journal
from etl.verify.check import Check, Faults, Report
from etl.verify.columns import Columns, check_complete, check_layout, check_values, read_columns
from etl.verify.listed import catalogue_of, check_listed, read_kept
from etl.verify.rows import RowsFound, check_rows, check_statistics
from etl.verify.settings import VerifySettings

__all__ = ["verify"]


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What rank 0 knows once it has looked at everything but pixels."""

    columns: Columns
    settled: npt.NDArray[np.bool_]
    """Rows that must be as they are stored, shape (patch,): all of a complete store, else those journalled."""
    tasks: list[pixels.SourceRow]
    """Rows to read again from the source."""


def verify(settings: VerifySettings, comm: Comm) -> int:
    """Collective: verify one store and return the exit status."""
    start = time.perf_counter()
    report = Report(comm.rank == 0)
    found = on_root(comm, lambda: _look(settings, report))
    if not comm.bcast(found is not None):
        return int(comm.bcast(report.close(settings.store)))
    rows = _read_rows(settings, comm, found)
    if rows is not None and found is not None:
        report.add(*rows.checks(found.columns.schema), check_statistics(found.columns, rows.sums))
    seconds = time.perf_counter() - start
    _read_source(settings, comm, found, report)
    pace = ""
    if rows is not None and found is not None:
        read = rows.written + rows.rejected
        mib = read * found.columns.schema.row_bytes / 2**20
        speed = f"{read / seconds:.0f} rows/s, {mib / seconds:.0f} MiB/s"
        pace = f"{read} rows in {seconds:.1f} s on {comm.size} {'rank' if comm.size == 1 else 'ranks'} ({speed})"
    return int(comm.bcast(report.close(settings.store, pace)))


def _look(settings: VerifySettings, report: Report) -> Found | None:
    """Rank 0's part: everything but pixels; None where the store cannot be read any further."""
    path, kind = settings.store, format_of(settings.store)
    if kind == "HDF5" and not is_hdf5(path):
        what = "is not an HDF5 file" if path.is_file() else "is not there" if not path.exists() else "is a folder"
        raise JobError(f"store must be an HDF5 file made by etl.extract; {path} {what}", ExitStatus.BAD_INPUT)
    try:
        store = StoreReader(path)
    except ValueError as error:
        if kind == "Zarr":
            raise
        report.add(Check("opens", False, str(error)))
        return None
    with store:
        if "data_10m" not in store and "state" not in store:
            holds = ", ".join(sorted({name.split("/")[0] for name in store.names})) or "nothing"
            raise JobError(
                f"store must be made by etl.extract; {shown(path)} is {kind} but holds {holds}", ExitStatus.BAD_INPUT
            )
        return _look_inside(settings, report, store, f"{'Zarr version 3' if kind == 'Zarr' else kind}, {_size(path)}")


def _size(path: Path) -> str:
    """How much a store takes on a file system."""
    if is_remote(path):
        return "in a bucket"
    files = [file for file in path.rglob("*") if file.is_file()] or [path]
    mib = sum(file.stat().st_size for file in files) / 2**20
    return f"{len(files)} files, {mib:.1f} MiB" if path.is_dir() else f"{mib:.1f} MiB"


def _look_inside(settings: VerifySettings, report: Report, store: StoreReader, opened: str) -> Found | None:
    """The checks of rank 0 on an open store; None where it cannot be read any further."""
    layout = check_layout(store)
    report.add(Check("opens", True, opened), layout)
    if not layout.passed:
        return None
    columns = read_columns(store)
    tasks = _tasks(settings, columns)
    catalogue = _catalogue(settings, columns)
    report.add(check_complete(columns), check_values(columns))
    journal, problem = _journal(columns)
    report.add(problem or check_journal(columns, journal), check_rejected_list(columns), *catalogue)
    settled = np.ones(columns.schema.rows, bool)
    if not columns.complete and journal is not None:
        settled = finished_rows(journal, columns.schema.rows)
    return Found(columns, settled, tasks)


def _tasks(settings: VerifySettings, columns: Columns) -> list[pixels.SourceRow]:
    if settings.source is None:
        return []
    sources = pixels.find_sources(settings.source, columns)
    return pixels.tasks_of(columns, pixels.pick_rows(columns, settings.sample, settings.seed), sources)


def _catalogue(settings: VerifySettings, columns: Columns) -> list[Check]:
    path = catalogue_of(settings.catalogue, columns)
    if path is None:
        said = columns.settings.get("catalogue", "")
        why = f"{said}, which the store was made from, is not here" if said else "the store does not say which"
        return [Check("catalogue", None, f"{why}; name one with --catalogue")]
    return check_listed(columns, read_kept(path, columns))


def _journal(columns: Columns) -> tuple[Journal | None, Check | None]:
    try:
        return read_journal(columns.path), None
    except ValueError as error:
        return None, Check("journal", False, str(error))


def _read_rows(settings: VerifySettings, comm: Comm, found: Found | None) -> RowsFound | None:
    """Collective: every rank reads a run of rows; what all of them found, on rank 0."""
    parts = None
    if found is not None:
        schema = found.columns.schema
        bounds = np.linspace(0, schema.rows, comm.size + 1).astype(int).tolist()
        parts = [(schema, bounds[k], found.settled[bounds[k] : bounds[k + 1]]) for k in range(comm.size)]
    schema, first, settled = comm.scatter(parts)
    got, problem = None, None
    try:
        with report_progress("verify: rows", len(settled), "row", comm.rank == 0) as show:
            got = check_rows(settings.store, schema, first, settled, show)
    except OSError as error:
        problem = str(error)
    agree(comm, "reading rows", problem)
    all_found = comm.gather(got)
    if all_found is None:
        return None
    total: RowsFound = all_found[0]
    for other in all_found[1:]:
        total.merge(other)
    return total


def _read_source(settings: VerifySettings, comm: Comm, found: Found | None, report: Report) -> None:
    """Collective: every rank reads a run of the chosen rows from the source again."""
    if settings.source is None:
        report.add(Check("source pixels", None, "not asked for; --source DIR reads native pixels again"))
        return
    parts = None
    if found is not None:
        bounds = np.linspace(0, len(found.tasks), comm.size + 1).astype(int).tolist()
        parts = [found.tasks[bounds[k] : bounds[k + 1]] for k in range(comm.size)]
    mine = comm.scatter(parts)
    got, problem = Faults(), None
    try:
        with report_progress("verify: source pixels", len(mine), "row", comm.rank == 0) as show:
            got = pixels.check_pixels(settings.store, mine, show)
    except OSError as error:
        problem = str(error)
    agree(comm, "reading the source", problem)
    all_found = comm.gather(got)
    if all_found is not None and found is not None:
        total = Faults()
        for other in all_found:
            total.merge(other)
        report.add(pixels.pixel_check(total, len(found.tasks), settings.source))
