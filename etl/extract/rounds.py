"""Writing: the same number of collective rounds on every rank, each preceded by agreement, some by a sync.

The main thread alone talks to MPI and HDF5. It waits with short sleeps, moving blocks between ranks meanwhile, so that
the decoding thread has the core. What fails on one rank is carried to the next agreement and ends all ranks together.
"""

import queue
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

import numpy as np

from etl.exit_status import ExitStatus, JobError, exit_status_of
from etl.extract.batches import Batch, Producer
from etl.extract.exchange import Exchange
from etl.mpi import Comm, agree, max_of
from etl.store.backend import Writer
from etl.store.journal import Journal, row_ranges

__all__ = ["Rounds", "Seconds"]

_WAIT_S = 0.005

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
"""Signals that stop a run cleanly. mpirun hands the last one on; the others it follows by SIGKILL within a second."""


@dataclass(slots=True)
class Seconds:
    """Seconds of the main thread, from the first block to the last sync."""

    wait_s: float = 0.0
    """Waiting for this rank's own batch."""

    agree_s: float = 0.0
    """Waiting for the slowest rank."""

    write_s: float = 0.0
    """Inside HDF5 or Zarr."""

    sync_s: float = 0.0
    """Bringing rows to the disk."""

    cpu_s: float = 0.0
    """CPU seconds of the whole process, all of its threads, meanwhile."""


@dataclass(slots=True, eq=False)
class Rounds:
    """The rounds of one rank."""

    comm: Comm
    writer: Writer
    producer: Producer
    exchange: Exchange
    journal: Journal | None
    """On rank 0 alone."""
    sync_every_s: float
    on_round: Callable[[int], None]
    """Called after each round with the number of rounds done."""
    seconds: Seconds = field(default_factory=Seconds)
    _finished: list[tuple[int, int]] = field(default_factory=list)
    _rejected: dict[int, str] = field(default_factory=dict)
    _error: str = ""
    _status: ExitStatus = ExitStatus.FAILED
    """What `_error` ends the job with."""
    _stop: bool = False
    _last_sync: float = field(default_factory=time.monotonic)

    def run(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Collective: write all batches; `ranges` holds this rank's rows [first, stop) of each round, or none.

        Raises:
            JobError: on every rank, where one failed, or with status 75 where one was told to stop.
        """
        previous = {kind: signal.signal(kind, self._on_signal) for kind in STOPS}
        try:
            for done, (first, stop) in enumerate(ranges, start=1):
                batch = self._next() if stop > first else None
                self._agree()
                self._write(batch)
                self.on_round(done)
            while not self.exchange.idle:
                self._poll()
                time.sleep(_WAIT_S)
            self._agree(final=True)
        finally:
            self.exchange.stop()
            self.producer.stop()
            for kind, handler in previous.items():
                signal.signal(kind, handler)

    def _on_signal(self, kind: int, frame: FrameType | None) -> None:
        self._stop = True

    def _next(self) -> Batch | None:
        """This rank's next batch; None where the run is to stop."""
        start = time.perf_counter()
        got: Batch | None = None
        while got is None and not self._stop and not self._error:
            self._poll()
            try:
                got = self.producer.full.get(timeout=_WAIT_S)
            except queue.Empty:
                continue
        self.seconds.wait_s += time.perf_counter() - start
        return got

    def _poll(self) -> None:
        """Move blocks between ranks; raise what ended the decoding thread: others may wait for its blocks."""
        self.exchange.poll()
        if self.producer.error is not None:
            raise self.producer.error

    def _agree(self, final: bool = False) -> None:
        """Collective: stop together where any rank must; sync where it is time."""
        due = final or (self.comm.rank == 0 and time.monotonic() - self._last_sync >= self.sync_every_s)
        start = time.perf_counter()
        flags = np.array([bool(self._error), self._stop, due], np.int32)
        failed, stop, due = max_of(self.comm, flags, self._poll).tolist()
        self.seconds.agree_s += time.perf_counter() - start
        if failed:
            self._end_together()
        if due or stop:
            self._sync()
        if stop and not final:
            message = "stopped by a signal; every row written so far is kept, --resume completes the store"
            raise JobError(message, ExitStatus.RESUMABLE)

    def _write(self, batch: Batch | None) -> None:
        """Collective: write one batch, or take part with nothing."""
        start = time.perf_counter()
        for name, rows in (batch or self.producer.empty).arrays():
            try:
                self.writer.write(name, batch.first if batch else 0, rows)
            except OSError as error:
                self._fail(f"writing {name} failed: {error}; is the disk full?", error)
        try:
            self.writer.drain()
        except OSError as error:
            self._fail(f"writing failed: {error}", error)
        if batch is not None and not self._error:
            self._finished += row_ranges(batch.made)
            self._rejected.update(batch.rejected)
        if batch is not None:
            self.producer.free.put(batch)
        self.seconds.write_s += time.perf_counter() - start

    def _fail(self, text: str, error: OSError) -> None:
        """Keep the first error until all ranks end."""
        if not self._error:
            self._status = exit_status_of(error)
            self._error = text + ("; --resume completes the store" if self._status == ExitStatus.RESUMABLE else "")

    def _end_together(self) -> None:
        """Collective: end where a rank has an error."""
        agree(self.comm, "extraction", self._error or None, self._status)

    def _note(self, parts: list[tuple[list[tuple[int, int]], dict[int, str]]] | None) -> None:
        """Journal what all ranks have finished; on rank 0."""
        if self.journal is None or parts is None:
            return
        try:
            self.journal.add(
                [r for ranges, _ in parts for r in ranges], {k: v for _, rejected in parts for k, v in rejected.items()}
            )
        except OSError as error:
            self._fail(f"journalling finished rows failed: {error}", error)

    def _sync(self) -> None:
        """Collective: bring finished rows to the disk on every rank, then journal them."""
        start = time.perf_counter()
        try:
            self.writer.sync()
        except OSError as error:
            self._fail(f"syncing the store failed: {error}", error)
        self._end_together()
        self._note(self.comm.gather((self._finished, self._rejected)))
        self._end_together()
        self._finished, self._rejected = [], {}
        self._last_sync = time.monotonic()
        self.seconds.sync_s += time.perf_counter() - start
