"""The loop that writes batches: as many collective rounds on every rank, each after an agreement, some after a sync.

Only the main thread calls MPI and HDF5. It waits by polling with short sleeps, moving blocks between ranks meanwhile,
so that the decoding thread has the core. What fails on one rank is kept until the next agreement, which ends all ranks
together: a rank that raised at once would leave the others waiting in a collective call.
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
from etl.mpi import Comm, agree, allreduce_max
from etl.stage_timer import StageTimer
from etl.store.interface import Writer
from etl.store.journal import Journal, row_ranges

__all__ = ["STOP_SIGNALS", "WriteLoop"]

_POLL_S = 0.005

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that stop a run cleanly. mpirun hands the last one on; the others it follows by SIGKILL within a second."""


@dataclass(slots=True, eq=False)
class WriteLoop:
    """The rounds of one rank."""

    comm: Comm
    writer: Writer
    pipeline: PatchPipeline
    exchange: Exchange
    journal: Journal | None
    """On rank 0 alone."""
    sync_every_s: float
    """Seconds between syncs, which precede every entry in the journal."""
    on_round: Callable[[int], None]
    """Called after each round with the number of rounds done."""
    timer: StageTimer
    _finished: list[tuple[int, int]] = field(default_factory=list)
    """Rows [first, stop) written since the last sync."""
    _rejected: dict[int, str] = field(default_factory=dict)
    """Rejections among them: reason by row."""
    _error: str = ""
    _status: ExitStatus = ExitStatus.FAILED
    """What `_error` ends the job with."""
    _stop: bool = False
    _last_sync: float = field(default_factory=time.monotonic)

    def run(self, rounds: Sequence[tuple[int, int]]) -> None:
        """Collective: write all batches, and sync and journal them every `sync_every_s` seconds.

        `rounds` holds this rank's rows [first, stop) of each round, first = stop where it has none.

        Raises:
            JobError: on every rank, where one failed, or with status 75 where one was told to stop.
        """
        previous = {kind: signal.signal(kind, self._on_signal) for kind in STOP_SIGNALS}
        try:
            for done, (first, stop) in enumerate(rounds, start=1):  # the same number on every rank
                batch = self._next_batch() if stop > first else None
                self._agree()
                self._write(batch)
                self.on_round(done)
            while not self.exchange.idle:  # lower ranks may still wait for blocks of this one
                self._poll()
                time.sleep(_POLL_S)
            self._agree(final=True)
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
        with self.timer.stage("wait_s"):
            while batch is None and not self._stop and not self._error:
                self._poll()
                try:
                    batch = self.pipeline.filled.get(timeout=_POLL_S)
                except queue.Empty:
                    continue
        return batch

    def _poll(self) -> None:
        """Move blocks between ranks; raise what ended the pipeline, as other ranks may wait for its blocks."""
        self.exchange.poll()
        if self.pipeline.error is not None:
            raise self.pipeline.error

    def _agree(self, final: bool = False) -> None:
        """Collective: stop together where any rank must; sync where it is time."""
        due = final or (self.comm.rank == 0 and time.monotonic() - self._last_sync >= self.sync_every_s)
        with self.timer.stage("agree_s"):
            flags = np.array([bool(self._error), self._stop, due], np.int32)
            failed, stop, due = allreduce_max(self.comm, flags, self._poll).tolist()
        if failed:
            self._raise_together()
        if due or stop:
            self._sync()
        if stop and not final:
            message = "stopped by a signal; every row written so far is kept, --resume completes the store"
            raise JobError(message, ExitStatus.RESUMABLE)

    def _write(self, batch: Batch | None) -> None:
        """Collective: write one batch, or take part with no rows."""
        with self.timer.stage("write_s"):
            # no return on the first error: the other ranks are in the same collective calls
            for name, rows in (batch or self.pipeline.empty).arrays():
                try:
                    self.writer.write(name, batch.first if batch else 0, rows)
                except OSError as error:
                    self._fail(f"writing {name} failed: {error}; is the disk full?", error)
            try:
                self.writer.wait()
            except OSError as error:
                self._fail(f"writing failed: {error}", error)
            if batch is not None:
                if not self._error:
                    self._finished += row_ranges(batch.made)
                    self._rejected.update(batch.rejected)
                self.pipeline.free.put(batch)  # after drain: nothing reads its memory any more

    def _fail(self, text: str, error: OSError) -> None:
        """Keep the first error until all ranks end."""
        if not self._error:
            self._status = exit_status_of(error)
            self._error = text + ("; --resume completes the store" if self._status == ExitStatus.RESUMABLE else "")

    def _raise_together(self) -> None:
        """Collective: end where a rank has an error."""
        agree(self.comm, "extraction", self._error or None, self._status)

    def _sync(self) -> None:
        """Collective: bring finished rows to the disk on every rank, then journal them.

        In this order, because in collective I/O another rank may write this one's rows: a row is in the journal only
        after every rank's sync.
        """
        with self.timer.stage("sync_s"):
            try:
                self.writer.sync()
            except OSError as error:
                self._fail(f"syncing the store failed: {error}", error)
            self._raise_together()
            parts = self.comm.gather((self._finished, self._rejected)) or []
            finished = [rows for ranges, _ in parts for rows in ranges]
            rejected = {row: reason for _, reasons in parts for row, reason in reasons.items()}
            try:
                if self.journal is not None:
                    self.journal.add(finished, rejected)
            except OSError as error:
                self._fail(f"journalling finished rows failed: {error}", error)
            self._raise_together()
            self._finished, self._rejected = [], {}
            self._last_sync = time.monotonic()
