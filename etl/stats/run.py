"""One run of statistics, from settings to the page, on threads, processes, a Dask cluster or MPI ranks."""

import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from etl.exit_status import ExitStatus, JobError
from etl.files import replace_atomically
from etl.mpi import Comm, on_root
from etl.stats.counting import count_store
from etl.stats.html_report import render_statistics
from etl.stats.report import compare_stored_sums, make_stats_report
from etl.stats.settings import StatsSettings
from etl.store.reader import StoreReader

__all__ = ["stats"]

# how long a Dask scheduler may take to answer
_CONNECT_TIMEOUT_S = 10


def stats(settings: StatsSettings, comm: Comm) -> int:
    """Collective: count the values of a store, write the page and its numbers, and return the exit status."""
    if comm.size == 1:
        on_root(comm, lambda: _on_one_rank(settings))
    else:
        _on_ranks(settings, comm)
    return ExitStatus.DONE


def _on_one_rank(settings: StatsSettings) -> None:
    workers = settings.workers or len(os.sched_getaffinity(0))
    with _open(settings) as store, _dask(settings.scheduler, workers) as (count, dask_options):
        _write_statistics(settings, store, count, dask_options)


@contextlib.contextmanager
def _dask(scheduler: str, workers: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number of workers, and the options of Dask's `compute`."""
    if "://" not in scheduler:
        yield workers, {"scheduler": scheduler, "num_workers": workers}
        return
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        problem = f"no Dask scheduler answers at --scheduler {scheduler}: {error}"
        raise JobError(problem, ExitStatus.BAD_INPUT) from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise JobError(f"--scheduler {scheduler} must have workers, got none", ExitStatus.BAD_INPUT)
        yield threads, {"scheduler": client.get}


def _on_ranks(settings: StatsSettings, comm: Comm) -> None:
    """Collective: each rank is a Dask worker, rank 0 also scheduler and client.

    Raises:
        JobError: on every rank, with the error of rank 0.
    """
    on_root(comm, lambda: _open(settings).close())
    import distributed
    from dask_mpi import execute

    # A task's error comes back as an exception; beside it, Dask logs each step of its start and end.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    outcome: Future[None] = Future()

    def client() -> None:
        try:
            with distributed.Client(set_as_default=False) as cluster, _open(settings) as store:
                cluster.wait_for_workers(comm.size)
                _write_statistics(settings, store, comm.size, {"scheduler": cluster.get})
            outcome.set_result(None)
        except BaseException as error:
            outcome.set_exception(error)

    # no memory limit: Dask's default would pause ranks that share a node
    execute(
        client,
        client_rank=0,
        exclusive_workers=False,
        dashboard=False,
        comm=comm,
        memory_limit=0,
        local_directory=tempfile.gettempdir(),
    )
    on_root(comm, lambda: outcome.result(0))


def _open(settings: StatsSettings) -> StoreReader:
    store = StoreReader(settings.store)
    try:
        store.require_written()
    except ValueError:
        store.close()
        raise
    return store


def _write_statistics(
    settings: StatsSettings, store: StoreReader, workers: int, dask_options: Mapping[str, Any]
) -> None:
    """Count on `workers` workers, write page and numbers, and compare the counts with the statistics in the store."""
    start = time.perf_counter()
    counts = count_store(store, workers, settings.batch_rows, **dask_options)
    seconds = time.perf_counter() - start
    report = make_stats_report(store, counts)
    # an incomplete store has no sums yet
    differences = compare_stored_sums(store, counts) if store.complete else []
    record = report.to_record() | {
        "command": "etl.stats",
        "seconds": seconds,
        "workers": workers,
        "scheduler": settings.scheduler,
        "agrees_with_stored_sums": store.complete and not differences,
    }
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    numbers = settings.out.with_suffix(".json")
    page = render_statistics(report, settings.out.suffix)
    for path, content in ((settings.out, page), (numbers, json.dumps(record).encode() + b"\n")):
        with replace_atomically(path, sync=False, concurrent=True) as temporary:
            temporary.write_bytes(content)
    rows = len(store.written)
    pace = f"{rows} rows counted in {seconds:.1f} s by {workers} workers ({rows / seconds:.0f} rows/s)"
    for line in report.nodata_lines:
        print(line)
    if store.incompleteness:
        print(f"{store.incompleteness}; only written rows are counted")
    print(f"{pace} -> {settings.out}, {numbers}")
    if differences:
        more = f"; and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise JobError(
            f"the stored statistics of {store.location} differ from its pixels: {'; '.join(differences[:3])}{more}; "
            "python -m etl.verify shows which rows are damaged"
        )
