"""End an extraction in which a rank hangs, with its name and what it does: status 75, and the journal names the unit.

A thread of each rank looks at what the other threads do (`etl.heartbeat`) and tells the thread of rank 0, by messages
over UDP: MPI is for the main thread alone, which can be blocked in a collective call. The thread of rank 0 judges,
writes to the journal and ends the job. Each rank ends itself if rank 0 does not.
"""

import contextlib
import faulthandler
import os
import platform
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from etl.exit_status import ExitStatus
from etl.extract.rank_views import RankView, Verdict, find_hung, view_of
from etl.extract.settings import ExtractSettings
from etl.heartbeat import activities, doing
from etl.mpi import Comm, wait_polling
from etl.store.backend import backend_of
from etl.store.interface import Backend
from etl.store.stalled_units import add_stalled_units
from etl.watchdog import IdleTime, exit_now

if TYPE_CHECKING:
    from etl.store.lock import StoreLock

__all__ = ["COMPLETION_ADVICE", "Watchdog", "end_if_held", "watch_ranks"]

_LONGEST_INTERVAL_S = 5.0

_STDERR = 2
"""Descriptor of the standard error: `sys.stderr` can be an object without one."""

_NOTE_S = 10.0
"""How long writing to the journal may take: the disk can be what hangs."""

_DATAGRAM_BYTES = 8192

COMPLETION_ADVICE = "--resume completes the store"


@contextlib.contextmanager
def end_if_held(limit_s: float, comm: Comm) -> Iterator[None]:
    """End this process with status 1 if the `with` block takes `limit_s` seconds; 0 = never. Rank 0 tells where.

    HDF5 keeps Python's global lock while it opens a file, so no thread of Python can watch it. If the disk fails on one
    rank then, HDF5 itself waits for ever for the others.
    """
    with Path(os.devnull).open("w") as nowhere:
        if limit_s:
            faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere if comm.rank else _STDERR)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


class Watchdog(contextlib.AbstractContextManager["Watchdog"]):
    """The watchdog of one rank; its thread ends with the `with` block, as the process may go on afterwards.

    The end of the block is collective, unless it raises: all ranks are watched until the last one gets there, as they
    would otherwise wait in MPI_Finalize, forever, for one that does not.
    """

    def __init__(self, comm: Comm, limit_s: float, note: Callable[[Verdict, Backend | None], None]) -> None:
        """Collective: start the thread, if there is a limit. `note` writes a verdict to the journal.

        Its second argument is the store, if this run has locked it.
        """
        self.store: Backend | None = None
        """The store, once this run has locked it, so that the journal is its own."""
        self.lock: StoreLock | None = None
        """This rank's lock of it."""
        self._comm, self._rank, self._size, self._host = comm, comm.rank, comm.size, platform.node()
        self._limit_s, self._note = limit_s, note
        self._interval_s = min(_LONGEST_INTERVAL_S, limit_s / 10)
        self._grace_s = max(4 * self._interval_s, 1.0)
        self._idle: dict[int, IdleTime] = {}
        self._over = threading.Event()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._root_host, self._port, self._token = self._meet(comm)
        if limit_s:
            threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            with doing("waiting for other ranks", waits=True):
                wait_polling(self._comm.Ibarrier())
        self._over.set()

    def _meet(self, comm: Comm) -> tuple[str, int, bytes]:
        """Collective: host and port of rank 0, and what all messages begin with."""
        hosts = comm.allgather(self._host)
        port, token = 0, secrets.token_bytes(16)
        if comm.rank == 0:
            with contextlib.suppress(OSError):  # without a network each rank watches itself alone
                self._socket.bind(("127.0.0.1" if len(set(hosts)) == 1 else "", 0))
            port = self._socket.getsockname()[1]
        return "127.0.0.1" if hosts[0] == self._host else hosts[0], *comm.bcast((port, token))

    def _own_view(self, step_s: float) -> RankView:
        """What this rank does, `step_s` seconds after the last look."""
        now = activities()
        self._idle = {thread: self._idle.get(thread) or IdleTime() for thread in now}
        idle = [(activity, self._idle[thread].after(step_s, activity)) for thread, activity in now.items()]
        return view_of(self._rank, self._host, idle)

    def _watch(self) -> None:
        with self._socket:
            if self._rank == 0:
                self._judge_all()
            else:
                self._report()

    def _judge_all(self) -> None:
        """On rank 0: hear what the ranks do, and end the job if one of them hangs."""
        views, addresses = dict[int, RankView](), dict[int, tuple[str, int]]()
        unseen_s: dict[int, float] = {}
        while not self._over.is_set():
            heard = self._receive(addresses)
            views |= heard
            views[0] = self._own_view(self._interval_s)
            unseen_s = {rank: 0.0 if rank in heard else unseen_s.get(rank, 0.0) + self._interval_s for rank in views}
            unseen_s[0] = 0.0
            verdict = find_hung(views, unseen_s, self._limit_s, self._grace_s, self._size)
            if verdict is not None and not self._over.is_set():
                print(f"error: {self._message(verdict)}", file=sys.stderr, flush=True)
                for address in addresses.values():
                    self._send(b"end", address)
                os._exit(ExitStatus.RESUMABLE)

    def _receive(self, addresses: dict[int, tuple[str, int]]) -> dict[int, RankView]:
        """What has been heard of other ranks within one interval; each message is answered."""
        heard: dict[int, RankView] = {}
        deadline = time.monotonic() + self._interval_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                data, address = self._socket.recvfrom(_DATAGRAM_BYTES)
                if not secrets.compare_digest(data[:16], self._token):
                    continue
                view = RankView.from_bytes(data[16:])
            except (OSError, ValueError, TypeError):  # OSError: the time is over, or a rank has ended
                continue
            heard[view.rank], addresses[view.rank] = view, address
            self._send(b"", address)
        return heard

    def _report(self) -> None:
        """On other ranks: tell rank 0 what this one does; end this rank if rank 0 says so, or should have."""
        silent_s, is_heard = 0.0, False
        root = self._address_of_root()
        while not self._over.is_set():
            view = self._own_view(self._interval_s)
            self._send(_shortened(view).to_bytes(), root)
            answers = self._answers()
            if self._over.is_set():
                break
            if b"end" in answers:  # rank 0 has printed why
                os._exit(ExitStatus.RESUMABLE)
            is_heard = is_heard or bool(answers)
            silent_s = 0.0 if answers else silent_s + self._interval_s
            if is_heard and silent_s >= self._limit_s + self._grace_s:
                time.sleep(min(0.05 * self._rank, 2.0))  # one of the ranks prints; its end ends the others
                lost = Verdict(f"rank 0 of {self._size} does not run (it is stopped, or its host is lost)")
                exit_now(self._message(lost), ExitStatus.RESUMABLE)
            # rank 0 should have ended the job by now, but its messages do not arrive
            late_s = self._limit_s + 2 * self._grace_s + _NOTE_S
            verdict = None if view.waits else find_hung({self._rank: view}, {self._rank: 0.0}, late_s, 0.0, self._size)
            if verdict is not None:
                exit_now(self._message(verdict), ExitStatus.RESUMABLE)

    def _address_of_root(self) -> tuple[str, int]:
        """Address of rank 0; where its name is not known, one at which nobody listens."""
        try:
            return socket.gethostbyname(self._root_host), self._port
        except OSError:
            return "127.0.0.1", 0

    def _answers(self) -> list[bytes]:
        """What rank 0 has answered within one interval."""
        answers = []
        deadline = time.monotonic() + self._interval_s
        while (left_s := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                data = self._socket.recv(_DATAGRAM_BYTES)
            except OSError:
                continue
            if secrets.compare_digest(data[:16], self._token):
                answers.append(data[16:])
                if data[16:] == b"end":
                    break
        return answers

    def _send(self, data: bytes, address: tuple[str, int]) -> None:
        with contextlib.suppress(OSError):  # a message that is lost is followed by others
            self._socket.sendto(self._token + data, address)

    def _message(self, verdict: Verdict) -> str:
        """What is said of a verdict, once it has been written to the lock file and the journal."""
        self._in_time(lambda: self.lock.mark_ended(verdict.message) if self.lock else None)
        return f"{verdict.message}; all ranks end. {COMPLETION_ADVICE}{self._noted(verdict)}"

    def _noted(self, verdict: Verdict) -> str:
        """Write a verdict to the journal; what to say of that."""
        if not verdict.units:
            return ""
        problem = self._in_time(lambda: self._note(verdict, self.store))
        if problem:
            return f"; the journal cannot name what hangs: {problem}"
        return (
            "; the journal names it, and a second time rejects it"
            if verdict.lost
            else "; the journal names it, so that it is rejected then"
        )

    def _in_time(self, write: Callable[[], None]) -> str:
        """Write something within `_NOTE_S` seconds; what kept it from being written."""
        problems = ["it did not answer in time"]

        def attempt() -> None:
            try:
                write()
                problems.clear()
            except (OSError, ValueError) as error:
                problems[:] = [str(error)]

        writer = threading.Thread(target=attempt, name="note", daemon=True)
        writer.start()
        writer.join(_NOTE_S)
        return problems[0] if problems else ""


def _shortened(view: RankView) -> RankView:
    """The view in a size that fits into a message."""
    return replace(view, what=view.what[-500:], unit=view.unit if len(view.unit) < 500 else "")


def watch_ranks(settings: ExtractSettings, comm: Comm) -> Watchdog:
    """Collective: start the watchdog; it does nothing if `--stall` is 0."""

    def note(verdict: Verdict, locked: Backend | None) -> None:
        if comm.rank and settings.out.is_remote:
            raise OSError("in a bucket only rank 0 can write it")
        if locked is None:
            _add_before_locking(settings, verdict)
        else:
            add_stalled_units(locked, verdict.units, lost=verdict.lost)

    return Watchdog(comm, settings.stall, note)


def _add_before_locking(settings: ExtractSettings, verdict: Verdict) -> None:
    """Name units in the journal of a store that this run has not locked, if no other run has.

    Raises:
        OSError: it cannot be written.
        ValueError: it is another run's.
    """
    store = backend_of(settings.out, settings.layout)
    store.prepare_parent()
    lock = store.lock()
    lock.acquire(0)
    try:
        if store.exists() and not settings.resume:
            raise ValueError(f"{settings.out} exists; name another --out, or complete it with --resume")
        store.take_over()
        add_stalled_units(store, verdict.units, lost=verdict.lost)
    finally:
        lock.release()
