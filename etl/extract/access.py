"""Lock a store and open it for writing, on all ranks."""

from etl.exit_status import ExitStatus
from etl.extract.settings import ExtractSettings
from etl.mpi import Comm, file_hints, on_every_rank, on_root, raise_if_any_failed
from etl.store.hdf5.writer import serial_h5py_problem
from etl.store.interface import Backend, Writer
from etl.store.location import Location
from etl.store.lock import StoreLock, open_lock

__all__ = ["lock_store", "open_writer", "require_parallel_h5py"]


def require_parallel_h5py(settings: ExtractSettings, comm: Comm) -> None:
    """Collective: make sure, before any work, that h5py can write the store from this many ranks.

    Raises:
        JobError: it cannot.
    """
    problem = serial_h5py_problem(settings.out, settings.write == "collective", comm.size)
    raise_if_any_failed(comm, "preparing collective writes", problem, ExitStatus.BAD_INPUT)


def lock_store(settings: ExtractSettings, store: Backend, comm: Comm) -> StoreLock:
    """Collective: make sure that no other run writes the store.

    Raises:
        JobError: the store exists and is not to be resumed, another run writes it, or its folder or bucket cannot be
            reached.
    """
    out = settings.out

    def refuse_existing() -> None:
        if store.exists() and not settings.resume:
            raise ValueError(f"{out} exists; name another --out, or complete it with --resume")

    def acquire() -> StoreLock:
        store.prepare_parent()
        refuse_existing()
        lock = open_lock(out)
        lock.acquire()
        refuse_existing()  # a run that held the lock before may have created it
        store.discard_unfinished()  # under the lock: nobody else is writing it
        return lock

    def acquire_shared() -> StoreLock:
        try:
            lock = open_lock(out)
            lock.acquire_shared()
        except OSError as error:
            raise OSError(f"{error}; every rank must see the folder of --out") from None
        return lock

    lock = on_root(comm, acquire)
    return on_every_rank(comm, f"opening {out}", lambda: acquire_shared() if lock is None else lock)


def open_writer(out: Location, store: Backend, comm: Comm) -> Writer:
    """Collective: the store, open for writing on every rank.

    Raises:
        JobError: a rank cannot open it.
    """
    return on_every_rank(comm, f"opening {out} for writing", lambda: store.writer(comm, file_hints()))
