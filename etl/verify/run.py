"""One verification, from settings to verdict: rank 0 checks columns and lists, each rank a part of the rows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from etl.exit_status import ExitStatus, JobError
from etl.mpi import Comm, on_root, raise_if_any_failed
from etl.plural import counted
from etl.progress import report_progress
from etl.schema import REJECTED, WRITTEN
from etl.source.sentinel1 import Sentinel1Patches
from etl.store.hdf5.reader import is_hdf5
from etl.store.location import Location, format_of
from etl.store.reader import StoreReader
from etl.verify.catalogue import check_catalogue
from etl.verify.check import Check, Faults, Report, judge
from etl.verify.columns import check_complete, check_layout, check_values
from etl.verify.digests import check_digests, repair_advice
from etl.verify.pixels import SourceRow, check_pixels, find_source_rows
from etl.verify.rows import RowResults, check_rows, check_statistics
from etl.verify.settings import VerifySettings
from etl.verify.sidecars import check_journal, check_rejected_list
from etl.verify.source_files import check_source_files

__all__ = ["verify"]

S = TypeVar("S", RowResults, Faults)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RowsToRead:
    """Rows whose pixels are to be read, once rank 0 has checked everything else."""

    rows: list[int]
    """Rows of the store, ascending, to compare with their checksums."""

    row_bytes: int
    """Bytes of one row in all arrays."""

    source_rows: list[SourceRow]
    """Rows to compare with the source."""

    has_sentinel1: bool = False
    """Whether the store has `data_s1`."""


def verify(settings: VerifySettings, comm: Comm) -> int:
    """Collective: verify one store and return the exit status."""
    start, report, pace = time.perf_counter(), Report(), ""
    work = on_root(comm, lambda: _check_all_but_pixels(settings, report))
    if comm.bcast(work is not None):
        results = _over_ranks(comm, "rows", work.rows if work else (), partial(check_rows, settings.store))
        on_root(comm, lambda: _report_rows(settings, report, results))
        seconds = time.perf_counter() - start
        files = Check("source files", None, "not asked for; --source DIR compares them with their checksums")
        source = Check("source pixels", None, "not asked for; --source DIR reads native pixels again")
        if settings.source is not None:
            rows = work.source_rows if work else ()
            files = check_source_files(rows, comm)
            radar = settings.sentinel1
            sentinel1 = None if radar is None else Sentinel1Patches(radar, settings.allow_links)
            faults = _over_ranks(comm, "source pixels", rows, partial(check_pixels, settings.store, sentinel1))
            good = f"{len(rows)} rows, native bands bit for bit as in {settings.source}"
            if work is not None and work.has_sentinel1:
                good += f", data_s1 as in {radar}" if radar else "; data_s1 not compared, as --sentinel1 is not given"
            source = judge(source.name, good, faults)
        if work is not None:
            report.add(files, source)
            count = results.written + results.rejected
            speed = f"{count / seconds:.0f} rows/s, {count * work.row_bytes / 2**20 / seconds:.0f} MiB/s"
            pace = f"{count} rows in {seconds:.1f} s on {counted(comm.size, 'rank')} ({speed})"
    return int(comm.bcast(report.close(settings.store, pace) if comm.rank == 0 else None))


def _over_ranks(
    comm: Comm, what: str, items: Sequence[T], read: Callable[[Sequence[T], Callable[[int], None]], S]
) -> S:
    """Collective: call `read` on each rank with a part of rank 0's `items`; on rank 0 the merged result of all ranks.

    Raises:
        JobError: on every rank, if reading failed on any.
    """
    items = comm.bcast(items)  # small compared with the rows
    part = items[len(items) * comm.rank // comm.size : len(items) * (comm.rank + 1) // comm.size]
    results: list[S] = []
    problem = None
    try:
        with report_progress(f"verify: {what}", len(part), "row", comm.rank == 0) as show:
            results.append(read(part, show))
    except OSError as error:
        problem = str(error)
    raise_if_any_failed(comm, f"reading {what}", problem)
    results = comm.gather(results[0]) or results
    for other in results[1:]:
        results[0].merge(other)
    return results[0]


def _report_rows(settings: VerifySettings, report: Report, results: RowResults) -> None:
    """On rank 0: report the results of all ranks, and check the stored statistics."""
    with StoreReader(settings.store, check=False) as store:
        report.add(*results.checks(store.schema), check_statistics(store, results.sums.totals))


def _check_all_but_pixels(settings: VerifySettings, report: Report) -> RowsToRead | None:
    """On rank 0: check everything but pixels; None if the store cannot be read any further."""
    location, kind = settings.store, format_of(settings.store)
    if kind == "HDF5" and not is_hdf5(location.path):
        problem = f"no store at {location}; name an HDF5 file or a Zarr group made by etl.extract"
        if location.path.exists():
            what = "not an HDF5 file" if location.path.is_file() else "a folder"
            problem = f"store must be an HDF5 file made by etl.extract; {location} is {what}"
        raise JobError(problem, ExitStatus.BAD_INPUT)
    try:
        store = StoreReader(location, check=False)
    except ValueError as error:
        if kind == "Zarr":
            raise
        report.add(Check("opens", False, str(error)))
        return None
    with store:
        if "data_10m" not in store and "state" not in store:
            holds = ", ".join(sorted({name.split("/")[0] for name in store.names})) or "nothing"
            raise JobError(
                f"store must be made by etl.extract; {location} is {kind} but holds {holds}", ExitStatus.BAD_INPUT
            )
        layout = check_layout(store)
        report.add(Check("opens", True, f"{'Zarr version 3' if kind == 'Zarr' else kind}, {_size(location)}"), layout)
        if not layout.passed:
            return None
        report.advice = repair_advice(store)
        digests = check_digests(store)
        try:
            store.read_columns(item.name for item in store.schema.digested)
        except ValueError as error:
            report.add(Check("digests", False, str(error)) if digests.passed is None else digests)
            return None
        source_rows = []
        if settings.source is not None:
            source_rows = find_source_rows(store, settings, settings.source)
        # before any further line is printed: a catalogue or source that is not there is bad input
        catalogue = check_catalogue(store, settings.catalogue)
        report.add(check_complete(store), digests, check_values(store))
        journal, checkable = check_journal(store)
        report.add(journal, check_rejected_list(store), *catalogue)
        # the other rows of an incomplete store may be half-written
        rows = np.flatnonzero(checkable & np.isin(store.column("state"), (WRITTEN, REJECTED))).tolist()
        return RowsToRead(rows, store.schema.row_bytes, source_rows, bool(store.schema.sentinel1_bytes))


def _size(store: Location) -> str:
    """Number of files of a store, and their size in MiB."""
    files = store.files()
    if not files:
        return "in a bucket"
    mib = sum(file.stat().st_size for file in files) / 2**20
    return f"{mib:.1f} MiB" if files == [store.path] else f"{len(files)} files, {mib:.1f} MiB"
