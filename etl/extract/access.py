"""How ranks come at a store: one run at a time, then all of them open it for writing."""

from pathlib import Path

from etl.exit_status import ExitStatus, JobError, exit_status_of
from etl.extract.settings import ExtractSettings
from etl.mpi import Comm, agree, file_hints, on_root
from etl.store.backend import Backend, Writer
from etl.store.hdf5.offset_writer import serial_h5py_problem
from etl.store.location import is_remote, shown
from etl.store.lock import StoreLock, open_lock

__all__ = ["check_h5py", "lock_store", "open_writer"]


def check_h5py(settings: ExtractSettings, comm: Comm) -> None:
    """Collective: make sure, before any work, that h5py can write the store from this many ranks.

    Raises:
        JobError: it cannot.
    """
    problem = serial_h5py_problem(settings.out, settings.write == "collective", comm.size)
    agree(comm, "preparing collective writes", problem, ExitStatus.BAD_INPUT)


def lock_store(settings: ExtractSettings, store: Backend, comm: Comm) -> StoreLock:
    """Collective: make sure that no other run writes the store.

    Raises:
        JobError: the store is there and not to be resumed, another run writes it, or its place cannot be reached.
    """
    out = settings.out

    def refuse() -> None:
        if store.exists() and not settings.resume:
            raise JobError(
                f"{shown(out)} exists; name another --out, or complete it with --resume", ExitStatus.BAD_INPUT
            )

    def take() -> StoreLock:
        if not is_remote(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        store.check()
        refuse()
        lock = open_lock(out)
        lock.acquire()
        refuse()  # whoever held the lock may have made it meanwhile
        store.discard_unfinished()
        return lock

    lock, problem = on_root(comm, take), None
    try:
        if lock is None:
            lock = open_lock(out)
            lock.acquire_shared()
    except OSError as error:
        problem = f"{error}; every rank must see the folder of --out"
    agree(comm, f"opening {shown(out)}", problem)
    assert lock is not None
    return lock


def open_writer(out: Path, store: Backend, comm: Comm) -> Writer:
    """Collective: the store, open for writing on every rank.

    Raises:
        JobError: a rank cannot open it.
    """
    writer, problem, status = None, None, ExitStatus.FAILED
    try:
        writer = store.writer(comm, file_hints())
    except OSError as error:
        problem, status = str(error), exit_status_of(error)
    agree(comm, f"opening {shown(out)} for writing", problem, status)
    assert writer is not None
    return writer
