"""Lock a store on all ranks."""

import logging

from etl.extract.settings import ExtractSettings
from etl.mpi import Comm, on_every_rank, on_root
from etl.store.interface import Backend
from etl.store.lock import StoreLock

__all__ = ["lock_store"]

log = logging.getLogger(__name__)


def lock_store(settings: ExtractSettings, store: Backend, comm: Comm, lease_s: float | None = None) -> StoreLock:
    """Collective: make sure that no other run writes the store; `lease_s` as of `Backend.lock`.

    Raises:
        JobError: the store exists and is not to be resumed, another run writes it, or its folder or bucket cannot be
            reached.
    """
    out = settings.out

    def refuse_existing() -> None:
        if store.exists() and not settings.resume:
            raise ValueError(f"{out} exists; name another --out, or complete it with --resume")

    def acquire() -> StoreLock:
        """On rank 0: the lock, held, of a store that no other run changes."""
        store.prepare_parent()
        refuse_existing()
        lock = store.lock(lease_s)
        lock.acquire()
        try:
            if lock.took_over:
                log.warning("%s: processes of an ended run still hold its lock; the store is kept from them", out)
                store.detach()
                lock.detached()
            store.take_over()  # under the lock: nobody else is writing it
            refuse_existing()  # a run that held the lock before may have created it
        except (ValueError, OSError):
            lock.release()
            raise
        return lock

    def acquire_shared() -> StoreLock:
        try:
            lock = store.lock()
            lock.acquire_shared()
        except OSError as error:
            raise OSError(f"{error}; every rank must see the folder of --out") from None
        return lock

    lock = on_root(comm, acquire)
    return on_every_rank(comm, f"opening {out}", lambda: acquire_shared() if lock is None else lock)
