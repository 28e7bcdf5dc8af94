"""Blocks on their way between ranks: non-blocking MPI messages, moved on by polling from the main thread.

The decoding thread posts and takes blocks; only the main thread calls MPI. Each pair of ranks sends and receives in
the order of the plan, and MPI keeps that order, so one message tag is enough.
"""

import queue
import threading
from collections.abc import Mapping

from etl.mpi import Comm, Request
from etl.plan.work import Block, ProductPatches, RankWork
from etl.source.block import BlockData, OutgoingBlock

__all__ = ["Exchange"]


class Exchange:
    """Blocks that one rank sends to others and receives from them; a `BlockReceiver`."""

    def __init__(self, comm: Comm, work: RankWork, product_patches: Mapping[int, ProductPatches]) -> None:
        """Start receiving; each block expected takes one buffer of its uint16 pixels."""
        self._comm = comm
        self._outbox: queue.SimpleQueue[OutgoingBlock] = queue.SimpleQueue()
        self._sending: list[tuple[Request, BlockData]] = []
        self._arrived: dict[Block, BlockData] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._receiving: dict[Block, tuple[Request, BlockData]] = {}
        for block, source in work.receives.items():
            data = BlockData(product_patches[block.product].layers[block.layer], block.index)
            self._receiving[block] = (comm.Irecv(data.message, source), data)

    def post(self, block: OutgoingBlock) -> None:
        """Hand the pixels of a block over for sending; any thread."""
        self._outbox.put(block)

    def take_arrived(self, block: Block) -> BlockData | None:
        """The pixels of another rank's block, uint16, or None if they have not arrived; the decoding thread."""
        with self._changed:
            self._require_running(block)
            return self._arrived.pop(block, None)

    def wait_for(self, block: Block) -> BlockData:
        """The pixels of another rank's block, uint16, once they have arrived; the decoding thread."""
        with self._changed:
            self._changed.wait_for(lambda: block in self._arrived or self._stopped)
            self._require_running(block)
            return self._arrived.pop(block)

    def _require_running(self, block: Block) -> None:
        if self._stopped:
            raise RuntimeError(f"{block} is not received: the run was stopped")

    def poll(self) -> None:
        """Start and complete messages; the main thread."""
        while not self._outbox.empty():
            data, ranks = self._outbox.get()
            self._sending += [(self._comm.Isend(data.message, rank), data) for rank in ranks]
        # requests are kept with their data: MPI reads the buffer until the message is sent
        self._sending = [(request, data) for request, data in self._sending if not request.Test()]
        arrived = [block for block, (request, _) in self._receiving.items() if request.Test()]
        if arrived:
            with self._changed:
                for block in arrived:
                    self._arrived[block] = self._receiving.pop(block)[1]
                self._changed.notify_all()

    @property
    def idle(self) -> bool:
        """Whether every posted block has been sent and every expected one has arrived."""
        return self._outbox.empty() and not self._sending and not self._receiving

    def stop(self) -> None:
        """Wake the decoding thread, which then raises, and cancel what has not arrived."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for request, _ in self._receiving.values():
            request.Cancel()
            request.Free()
        # _receiving keeps its buffers: MPI may still be writing into them
