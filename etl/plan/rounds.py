"""Which rows each rank writes in which collective round.

A round takes as long as its slowest rank, and a rank whose buffers are full waits for it. Work is uneven: a rank
decodes for seconds before its first patch is ready, and its last patches need no new blocks. So a round is planned for
the moment at which the first rank is predicted to have filled a buffer; every rank writes the rows that it has ready
by then.

Pure: numbers in, row numbers out. Which rows are written together changes no value in the store.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from etl.plan.decode_schedule import block_uses
from etl.plan.layers import IntArray
from etl.plan.work import Block, Cost, ProductPatches, RankWork
from etl.schema import RowSpan

__all__ = ["plan_rounds", "predict_ready_s"]

Seconds = npt.NDArray[np.float64]


def predict_ready_s(work: RankWork, products: Mapping[int, ProductPatches], cost: Cost) -> Seconds:
    """Seconds after which each patch of a rank is ready, shape (patch,), ascending, if it never waits for others."""
    patches = work.patch_count
    uses, decoded = block_uses(work, products), np.zeros(patches)
    own = uses.before_patch >= 0
    np.add.at(decoded, uses.before_patch[own], cost.pixels_s(uses.pixels[own]))
    sent = sum(_block_s(products, block, cost) for block in work.sends)
    ready: Seconds = sent + np.cumsum(decoded) + np.arange(1, patches + 1) * cost.patch_s
    return ready


def _block_s(products: Mapping[int, ProductPatches], block: Block, cost: Cost) -> float:
    return cost.block_s(products[block.product].layers[block.layer], block.index)


def plan_rounds(
    rows: Sequence[IntArray], ready: Sequence[Seconds], capacity: int, shard_rows: int, store_rows: int
) -> list[list[RowSpan]]:
    """Store rows that each rank writes in each round, by rank; an empty span in a round for which it has none.

    `rows`, `ready`: one array a rank, shape (patch,), ascending: store rows, and seconds when each is ready. A rank
    writes whole shards of `shard_rows` neighbouring rows, at most `capacity` rows but at least one shard; the last
    shard ends at `store_rows`. Every rank has the same number of rounds, as each is collective.
    """
    most = max(1, capacity // shard_rows)
    queues = [_ShardQueue(*rank, most, shard_rows) for rank in zip(rows, ready, strict=True)]
    rounds: list[list[RowSpan]] = [[] for _ in queues]
    while any(queue.position < len(queue.shards) for queue in queues):
        time_s = min(queue.full_s for queue in queues)  # all ranks write when the first buffer is full
        for queue, spans in zip(queues, rounds, strict=True):
            first, stop = queue.take(time_s)
            spans.append(RowSpan(first * shard_rows, min(stop * shard_rows, store_rows)))
    return rounds


class _ShardQueue:
    """The shards that one rank still has to write, ascending, and the seconds when each is ready."""

    def __init__(self, rows: IntArray, ready: Seconds, most: int, shard_rows: int) -> None:
        """Each shard of `rows` is ready when its last row is, in seconds; a batch takes at most `most` neighbours."""
        self.shards, first = np.unique(rows // shard_rows, return_index=True)
        self.ready = ready[np.append(first, len(rows))[1:] - 1]
        positions = np.arange(len(self.shards))
        ends = np.append(np.flatnonzero(np.diff(self.shards) > 1) + 1, len(self.shards))
        self.longest_stop = np.minimum(positions + most, ends[np.searchsorted(ends, positions, side="right")])
        """Stop position of the longest batch that begins at each position: neighbouring shards that fill one buffer."""
        self.position = 0
        """Position of the first shard that is in no round yet."""

    @property
    def full_s(self) -> float:
        """Time in seconds when the next batch is full; infinite for the rank's last batch, which triggers no round."""
        stop = self.longest_stop[self.position] if self.position < len(self.shards) else len(self.shards)
        return float(self.ready[stop - 1]) if stop < len(self.shards) else np.inf

    def take(self, time_s: float) -> tuple[int, int]:
        """Shards [first, stop) of the next batch that are ready after `time_s` seconds; first = stop if none is."""
        if self.position == len(self.shards):
            return 0, 0
        first, stop = self.position, self.longest_stop[self.position]
        self.position += int(np.searchsorted(self.ready[first:stop], time_s, side="right"))
        return int(self.shards[first]), int(self.shards[first]) + self.position - first
