"""When a rank decodes which of its blocks: ahead of the patches that need them, and evenly over all of its patches.

Decoded when first needed, a row of blocks comes all at once, and then hundreds of patches in no time: ranks that write
together would wait for each other. Here the blocks decoded before patch k are those that the patches from k on to one
block's lifetime later need on average, which is never less than patch k itself needs.

Pure: integers in, integers out. When a block is decoded changes no value in the store.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from etl.plan.layers import Index, blocks_of
from etl.plan.work import Block, Share, Tile

__all__ = ["Pace", "even", "pace_of"]


@dataclass(frozen=True, slots=True)
class Pace:
    """What one rank's patches need of its blocks, and when. Patches count from 0, over the whole share."""

    uses: Counter[Block]
    """How many patches need each block."""

    due: list[tuple[int, Block]]
    """The blocks that the rank decodes for itself, each with the patch before which it does so; ascending."""

    lifetime: int
    """Most patches from a block's first to its last."""


def pace_of(share: Share, tiles: Mapping[int, Tile]) -> Pace:
    """The pace of a share; blocks that are sent to others are decoded before everything else, and not in `due`."""
    uses: Counter[Block] = Counter()
    first: dict[Block, int] = {}
    lifetime, start = 1, 0
    for run in share.runs:
        tile = tiles[run.tile]
        for number, layer in enumerate(tile.layers):
            needed = np.sort(blocks_of(layer, tile.j[run.first : run.stop], tile.i[run.first : run.stop]), axis=1)
            distinct = np.ones(needed.shape, bool)
            distinct[:, 1:] = needed[:, 1:] != needed[:, :-1]
            patch, flat = np.nonzero(distinct)[0], needed[distinct]
            index, begins, count = np.unique(flat, return_index=True, return_counts=True)
            ends = len(flat) - 1 - np.unique(flat[::-1], return_index=True)[1]
            lifetime = max(lifetime, int((patch[ends] - patch[begins]).max(initial=0)) + 1)
            for flat_index, n, k in zip(index.tolist(), count.tolist(), patch[begins].tolist(), strict=True):
                block = Block(run.tile, number, flat_index)
                uses[block] += n
                first.setdefault(block, start + k)
        start += run.stop - run.first
    others = {*share.receives, *(block for block, _ in share.sends)}
    own = sorted((k, block) for block, k in first.items() if block not in others)
    pixels = np.array([tiles[b.tile].layers[b.layer].block_pixels(b.index) for _, b in own], np.intp)
    before = even(np.array([k for k, _ in own], np.intp), pixels, start, lifetime)
    return Pace(uses, list(zip(before.tolist(), (block for _, block in own), strict=True)), lifetime)


def even(first: Index, weight: Index, patches: int, horizon: int) -> Index:
    """Before which patch each block is decoded, so that the weight is spread evenly over the next `horizon` patches.

    `first`: the patch that needs each block first, ascending, below `patches`; `weight`: what it costs, 1 or more.
    Returns patches, ascending, none after `first` nor `horizon` before it.
    """
    needed = np.zeros(patches + horizon, np.intp)
    np.add.at(needed, first, weight)
    total = np.concatenate(([0], np.cumsum(np.cumsum(needed))))
    mean = (total[horizon:] - total[:-horizon]) // horizon
    before: Index = np.searchsorted(mean, np.cumsum(weight) - weight, side="right")
    return before
