"""Which rows each rank writes in which collective round.

A round takes as long as its slowest rank, and a rank whose buffers are full waits for it. Work does not come evenly: a
rank decodes for seconds before its first patch is ready, and its last patches need nothing more. So each round is held
when, by the plan's own seconds, the first rank has filled a buffer, and every rank brings what it has by then.

Pure: numbers in, row numbers out. Which rows are written together changes no value in the store.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.plan.layers import Index
from etl.plan.pace import pace_of
from etl.plan.work import Block, Cost, Share, Tile

__all__ = ["ready_s", "rounds_of"]

Seconds = npt.NDArray[np.float64]


def ready_s(share: Share, tiles: Mapping[int, Tile], cost: Cost) -> Seconds:
    """Seconds after which each patch of a share is ready, ascending, if nobody is waited for."""
    patches = sum(run.stop - run.first for run in share.runs)
    due = pace_of(share, tiles).due
    decoded = np.zeros(patches)
    np.add.at(decoded, [patch for patch, _ in due], [_block_s(tiles, block, cost) for _, block in due])
    sent = sum(_block_s(tiles, block, cost) for block, _ in share.sends)
    found: Seconds = sent + np.cumsum(decoded) + np.arange(1, patches + 1) * cost.patch_s
    return found


def _block_s(tiles: Mapping[int, Tile], block: Block, cost: Cost) -> float:
    layer = tiles[block.tile].layers[block.layer]
    return cost.block_s(layer, block.index)


def rounds_of(
    rows: Sequence[Index], ready: Sequence[Seconds], capacity: int, shard_rows: int, store_rows: int
) -> list[list[tuple[int, int]]]:
    """Store rows [first, stop) that each rank writes in each round, first = stop where it has none.

    `rows`: each rank's, ascending; `ready`: when each of them is, ascending. What a rank writes is whole shards of
    `shard_rows` rows, neighbours, at most `capacity` rows but at least one shard; the last shard ends at `store_rows`.
    """
    ranks = [_Rank.of(*each, max(1, capacity // shard_rows), shard_rows) for each in zip(rows, ready, strict=True)]
    found: list[list[tuple[int, int]]] = [[] for _ in ranks]
    while any(rank.at < len(rank.shards) for rank in ranks):
        time_s = min(rank.full_s for rank in ranks)
        for rank, mine in zip(ranks, found, strict=True):
            first, stop = rank.take(time_s)
            mine.append((first * shard_rows, min(stop * shard_rows, store_rows)))
    return found


@dataclass(slots=True, eq=False)
class _Rank:
    """What one rank still has to write."""

    shards: Index
    """Numbers of its shards, ascending."""

    ready: Seconds
    """When each is ready."""

    limit: Index
    """Place behind the last shard of the largest batch that begins at each."""

    at: int = 0
    """Place of the first shard that is not yet in a round."""

    @classmethod
    def of(cls, rows: Index, ready: Seconds, most: int, shard_rows: int) -> "_Rank":
        numbers = rows // shard_rows
        shards, first = np.unique(numbers, return_index=True)
        last = np.append(first, len(rows))[1:] - 1
        places = np.arange(len(shards))
        ends = np.append(np.flatnonzero(np.diff(shards) > 1) + 1, len(shards))
        limit = np.minimum(places + most, ends[np.searchsorted(ends, places, side="right")])
        return cls(shards, ready[last], limit)

    @property
    def full_s(self) -> float:
        """When its next batch can take no more; never, where that is its last one."""
        limit = self.limit[self.at] if self.at < len(self.shards) else len(self.shards)
        return float(self.ready[limit - 1]) if limit < len(self.shards) else np.inf

    def take(self, time_s: float) -> tuple[int, int]:
        """Shards [first, stop) of the next batch, of what is ready by then; first = stop where nothing is."""
        if self.at == len(self.shards):
            return 0, 0
        first, stop = self.at, self.limit[self.at]
        self.at += int(np.searchsorted(self.ready[first:stop], time_s, side="right"))
        return int(self.shards[first]), int(self.shards[first]) + self.at - first
