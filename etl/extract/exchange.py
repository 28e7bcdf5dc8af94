"""Blocks on their way between ranks: non-blocking MPI, driven from the main thread by polling.

The decoding thread posts blocks and takes blocks; only the main thread talks to MPI. Each pair of ranks sends and
receives in the order of the plan, so that one message tag serves.
"""

import queue
import threading
from collections.abc import Mapping, Sequence

from etl.mpi import Comm, Request
from etl.plan.layers import Layer
from etl.plan.work import Block, Share
from etl.source.tiles import BlockData

__all__ = ["Exchange"]


class Exchange:
    """What one rank sends to others and gets from them."""

    def __init__(self, comm: Comm, share: Share, layers: Mapping[int, Sequence[Layer]]) -> None:
        """Receiving begins at once; `layers` by tile."""
        self._comm = comm
        self._outbox: queue.SimpleQueue[tuple[BlockData, tuple[int, ...]]] = queue.SimpleQueue()
        self._sending: list[tuple[Request, BlockData]] = []
        self._arrived: dict[Block, BlockData] = {}
        self._news = threading.Condition()
        self._stopped = False
        self._abandoned: list[tuple[Request, BlockData]] = []
        self._receiving: dict[Block, tuple[Request, BlockData]] = {}
        for block, source in share.receives.items():
            data = BlockData(layers[block.tile][block.layer], block.index)
            self._receiving[block] = (comm.Irecv(data.message, source), data)

    def post(self, data: BlockData, ranks: tuple[int, ...]) -> None:
        """Hand a block over for sending; any thread."""
        self._outbox.put((data, ranks))

    def take(self, block: Block, wait: bool) -> BlockData | None:
        """A block of another rank; where it has not come yet, wait for it, or None. The decoding thread."""
        with self._news:
            if wait:
                self._news.wait_for(lambda: block in self._arrived or self._stopped)
            if self._stopped:
                raise RuntimeError("the run was stopped")
            return self._arrived.pop(block, None)

    def poll(self) -> None:
        """Move messages on; the main thread."""
        while not self._outbox.empty():
            data, ranks = self._outbox.get()
            self._sending += [(self._comm.Isend(data.message, rank), data) for rank in ranks]
        self._sending = [entry for entry in self._sending if not entry[0].Test()]
        done = [block for block, (request, _) in self._receiving.items() if request.Test()]
        if done:
            with self._news:
                for block in done:
                    self._arrived[block] = self._receiving.pop(block)[1]
                self._news.notify_all()

    @property
    def idle(self) -> bool:
        """Whether every posted block has been sent and every expected one has arrived."""
        return self._outbox.empty() and not self._sending and not self._receiving

    def stop(self) -> None:
        """Give up: wake the decoding thread, cancel what has not arrived."""
        with self._news:
            self._stopped = True
            self._news.notify_all()
        for request, _ in self._receiving.values():
            request.Cancel()
            request.Free()
        self._abandoned = list(self._receiving.values())  # MPI may still be writing into their buffers
        self._receiving.clear()
