"""The loop that writes batches: the same number of collective rounds on every rank.

Before each round the ranks exchange flags: failed, stop, sync due. A rank keeps an error of writing until then, so that
it ends all ranks together: a rank that raised at once would leave the others waiting in a collective call. Any other
error, also one of the pipeline's thread, is unexpected, and `etl.mpi` ends the whole job at once. Only the main thread
calls MPI and HDF5. It waits by polling with short sleeps and moves blocks between ranks meanwhile, so that the decoding
thread has the core.
"""

import queue
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

import numpy as np

from etl.exit_status import ExitStatus, JobError, exit_status_of
from etl.extract.batch import Batch
from etl.extract.exchange import Exchange
from etl.extract.pipeline import PatchPipeline
from etl.heartbeat import doing
from etl.mpi import Comm, allreduce_max, raise_if_any_failed
from etl.schema import RowSpan
from etl.stage_timer import StageTimer
from etl.store.interface import Writer
from etl.store.journal import Journal, row_ranges
from etl.store.lock import StoreLock

__all__ = ["STOP_SIGNALS", "WriteLoop"]

_POLL_S = 0.005

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that stop a run cleanly. mpirun forwards SIGUSR1; after SIGTERM or SIGINT it kills all ranks in a second."""


@dataclass(slots=True, eq=False)
class WriteLoop:
    """The rounds of one rank."""

    comm: Comm
    writer: Writer
    pipeline: PatchPipeline
    exchange: Exchange
    journal: Journal | None
    """On rank 0 alone, None elsewhere."""
    sync_every_s: float
    """Seconds between syncs, which precede every entry in the journal."""
    on_round: Callable[[int], None]
    """Called after each round with the number of rounds done."""
    timer: StageTimer
    lock: StoreLock | None = None
    """This rank's lock of the store: no other run may have taken it when rows are written."""
    _finished: list[RowSpan] = field(default_factory=list)
    """Rows written since the last sync."""
    _rejected: dict[int, str] = field(default_factory=dict)
    """Rejections among them: reason by row."""
    _error: str = ""
    _status: ExitStatus = ExitStatus.FAILED
    """Exit status with which `_error` ends the job."""
    _stop: bool = False
    _last_sync: float = field(default_factory=time.monotonic)

    def run(self, rounds: Sequence[RowSpan]) -> None:
        """Collective: write all batches, and sync and journal them every `sync_every_s` seconds.

        `rounds`: rows that this rank writes in each round; empty in a round for which it has none.

        Raises:
            JobError: on every rank, if one failed, or with status 75 if one got a signal to stop.
        """
        previous = {kind: signal.signal(kind, self._on_signal) for kind in STOP_SIGNALS}
        try:
            for done, span in enumerate(rounds, start=1):  # the same number on every rank
                batch = None if span.empty else self._next_batch()
                self._exchange_flags()
                self._write(batch)
                self.on_round(done)
            with doing("exchanging blocks with other ranks", waits=True):
                while not self.exchange.idle:  # other ranks may still wait for blocks of this one
                    self._poll()
                    time.sleep(_POLL_S)
            self._exchange_flags(final=True)
        finally:
            self.exchange.stop()
            self.pipeline.stop()
            for kind, handler in previous.items():
                signal.signal(kind, handler)

    def _on_signal(self, kind: int, frame: FrameType | None) -> None:
        self._stop = True

    def _next_batch(self) -> Batch | None:
        """This rank's next batch; None if the run is to stop."""
        batch: Batch | None = None
        with self.timer.stage("wait_s"), doing("waiting for the next batch", waits=True):
            while batch is None and not self._stop and not self._error:
                self._poll()
                try:
                    batch = self.pipeline.filled.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
        return batch

    def _poll(self) -> None:
        """Move blocks between ranks; raise the pipeline's error at once, as other ranks may wait for its blocks."""
        self.exchange.poll()
        if self.pipeline.error is not None:
            raise self.pipeline.error

    def _exchange_flags(self, final: bool = False) -> None:
        """Collective: exchange the flags failed, stop and sync due; raise, stop or sync on all ranks if any has one."""
        due = final or (self.comm.rank == 0 and time.monotonic() - self._last_sync >= self.sync_every_s)
        with self.timer.stage("agree_s"):
            flags = np.array([bool(self._error), self._stop, due], np.int32)
            failed, stop, due = allreduce_max(self.comm, flags, self._poll).tolist()
        if failed:
            self._raise_if_any_failed()
        if due or stop:
            self._sync()
        if stop and not final:
            raise JobError("stopped by a signal; every row written so far is kept", ExitStatus.RESUMABLE)

    def _write(self, batch: Batch | None) -> None:
        """Collective: write one batch, or take part with no rows."""
        self._require_lock()
        with self.timer.stage("write_s"):
            span = f"rows {batch.first} to {batch.first + batch.rows - 1}" if batch else "no rows"
            # no return on the first error: the other ranks are in the same collective calls
            for name, rows in (batch or self.pipeline.empty).arrays():
                try:
                    with doing(f"writing {name}, {span}", together=True):
                        self.writer.write(name, batch.first if batch else 0, rows)
                except OSError as error:
                    self._fail(f"writing {name} failed: {error}; is the disk full?", error)
            try:
                with doing(f"writing {span}", together=True):
                    self.writer.wait()
            except OSError as error:
                self._fail(f"writing failed: {error}", error)
            if batch is not None:
                if not self._error:
                    self._finished += row_ranges(batch.finished_rows)
                    self._rejected.update(batch.rejected)
                self.pipeline.free.put(batch)  # after `wait`: nothing reads its memory any more

    def _require_lock(self) -> None:
        """Raise a TakenOverError if this process was cut off, and another run has begun meanwhile."""
        if self.lock is not None:
            self.lock.require_not_replaced()

    def _fail(self, text: str, error: OSError) -> None:
        """Keep the first error until all ranks end."""
        if not self._error:
            self._error, self._status = text, exit_status_of(error)

    def _raise_if_any_failed(self) -> None:
        """Collective: raise a JobError on every rank if any has recorded an error."""
        raise_if_any_failed(self.comm, "extraction", self._error or None, self._status)

    def _sync(self) -> None:
        """Collective: sync finished rows to the disk on every rank, then journal them.

        In collective I/O another rank may write this one's rows, so a row is journalled only after every rank's sync.
        """
        with self.timer.stage("sync_s"):
            try:
                with doing("flushing written rows to the disk"):
                    self.writer.sync()
            except OSError as error:
                self._fail(f"syncing the store failed: {error}", error)
            self._raise_if_any_failed()
            parts = self.comm.gather((self._finished, self._rejected)) or []
            finished = [span for spans, _ in parts for span in spans]
            rejected = {row: reason for _, reasons in parts for row, reason in reasons.items()}
            try:
                if self.journal is not None:
                    self._require_lock()
                    with doing("writing to the journal"):
                        self.journal.add(finished, rejected)
            except OSError as error:
                self._fail(f"journalling finished rows failed: {error}", error)
            self._raise_if_any_failed()
            self._finished, self._rejected = [], {}
            self._last_sync = time.monotonic()
