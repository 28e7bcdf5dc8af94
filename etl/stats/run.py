"""One run of statistics, from settings to the page, on threads, processes, a Dask cluster or MPI ranks."""

import contextlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from etl.exit_status import ExitStatus, JobError
from etl.mpi import Comm, on_root
from etl.stats.answer import answer_of, disagreements, record_of
from etl.stats.page import write_page
from etl.stats.reduce import count_store
from etl.stats.settings import StatsSettings
from etl.store.location import shown
from etl.store.reader import StoreReader

__all__ = ["stats"]

_PATIENCE_S = 10
"""How long a Dask scheduler may take to answer."""


def stats(settings: StatsSettings, comm: Comm) -> int:
    """Collective: count the values of a store, write the page and its numbers, and return the exit status."""
    if comm.size == 1:
        on_root(comm, lambda: _locally(settings))
    else:
        _on_ranks(settings, comm)
    return ExitStatus.DONE


def _locally(settings: StatsSettings) -> None:
    workers = settings.workers or len(os.sched_getaffinity(0))
    with _opened(settings) as store, _cluster(settings.scheduler, workers) as (count, how):
        _count(settings, store, count, how)


@contextlib.contextmanager
def _cluster(scheduler: str, workers: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number of workers, and how Dask is to compute."""
    if "://" not in scheduler:
        yield workers, {"scheduler": scheduler, "num_workers": workers}
        return
    from distributed import Client

    try:
        client = Client(scheduler, timeout=_PATIENCE_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise JobError(
            f"--scheduler must be a Dask scheduler that answers, got {scheduler}: {error}", ExitStatus.BAD_INPUT
        ) from None
    with client:
        threads = sum(client.nthreads().values())
        if not threads:
            raise JobError(f"--scheduler {scheduler} must have workers, got none", ExitStatus.BAD_INPUT)
        yield threads, {"scheduler": client.get}


def _on_ranks(settings: StatsSettings, comm: Comm) -> None:
    """Collective: every rank a Dask worker; rank 0 the scheduler and the client, too.

    Raises:
        JobError: on every rank, with what rank 0 met.
    """
    on_root(comm, lambda: _opened(settings).close())
    import distributed
    from dask_mpi import execute

    # A task's error comes back as an exception; what Dask logs beside is each step of its start, and of its end.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    problem: list[BaseException] = []

    def client() -> None:
        try:
            with distributed.Client(set_as_default=False) as found, _opened(settings) as store:
                found.wait_for_workers(comm.size)
                _count(settings, store, comm.size, {"scheduler": found.get})
        except BaseException as error:
            problem.append(error)

    execute(
        client,
        client_rank=0,
        exclusive_workers=False,
        dashboard=False,
        comm=comm,
        memory_limit=0,
        local_directory=tempfile.gettempdir(),
    )
    on_root(comm, lambda: _raise(problem))


def _raise(problem: list[BaseException]) -> None:
    if problem:
        raise problem[0]


def _opened(settings: StatsSettings) -> StoreReader:
    store = StoreReader(settings.store)
    if not store.complete:
        store.close()
        raise ValueError(f"{shown(settings.store)} must be complete; python -m etl.extract --resume completes it")
    return store


def _count(settings: StatsSettings, store: StoreReader, workers: int, how: dict[str, Any]) -> None:
    start = time.perf_counter()
    counts = count_store(store, workers, settings.batch_rows, **how)
    seconds = time.perf_counter() - start
    answer = answer_of(store, counts)
    wrong = disagreements(store, counts)
    record = record_of(answer) | {
        "command": "etl.stats",
        "seconds": seconds,
        "workers": workers,
        "scheduler": settings.scheduler,
        "agrees_with_stored_sums": not wrong,
    }
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    numbers = settings.out.with_suffix(".json")
    _write(settings.out, lambda path: write_page(answer, path))
    _write(numbers, lambda path: path.write_text(json.dumps(record) + "\n", encoding="utf-8"))
    rows = len(store.written)
    pace = f"{rows} rows counted in {seconds:.1f} s by {workers} workers ({rows / seconds:.0f} rows/s)"
    print(f"{pace} -> {settings.out}, {numbers}")
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise JobError(f"{store.path} must hold the sums of its pixels: {'; '.join(wrong[:3])}{more}")


def _write(out: Any, write: Callable[[Any], Any]) -> None:
    """The file appears under its name when it is complete."""
    draft = out.with_name(f".{os.getpid()}.{out.name}")
    try:
        write(draft)
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
