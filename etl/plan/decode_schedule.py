"""When a rank decodes each of its blocks: before the patches that need it, spread evenly over all patches of the rank.

Blocks decoded only when first needed come in bursts: a whole row of blocks, then hundreds of patches that need no new
one. Ranks that write together would wait for each other. Here the decoding done before patch k is the mean of what the
patches from k to k + lifetime need; the lifetime is the longest span of patches over which a block is used. The
mean is never less than what patch k itself needs.

Pure: integers in, integers out. When a block is decoded changes no value in the store.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from etl.plan.layers import IntArray, blocks_of
from etl.plan.work import Block, ProductPatches, RankWork

__all__ = ["DecodeSchedule", "ScheduledDecode", "schedule_decoding", "smooth_load"]


class ScheduledDecode(NamedTuple):
    """A block that a rank decodes for itself, and the patch just before which it does so."""

    before_patch: int
    block: Block


@dataclass(frozen=True, slots=True)
class DecodeSchedule:
    """What one rank's patches need of its blocks, and when. Patches are counted from 0 over all of the rank's work."""

    uses: Counter[Block]
    """Number of patches that need each block."""

    decodes: list[ScheduledDecode]
    """Blocks that the rank decodes for itself, in the order in which it does so."""

    lifetime: int
    """Largest number of patches from a block's first use to its last."""


def schedule_decoding(work: RankWork, products: Mapping[int, ProductPatches]) -> DecodeSchedule:
    """Schedule of one rank's decoding, weighted by the pixels of each block.

    Blocks that the rank sends to others are decoded before all patches and are not in `decodes`.
    """
    uses: Counter[Block] = Counter()
    first_use: dict[Block, int] = {}
    lifetime, start = 1, 0
    for part in work.patches:
        product, patches = products[part.product], slice(part.first, part.stop)
        for number, layer in enumerate(product.layers):
            needed = np.sort(blocks_of(layer, product.patch_row[patches], product.patch_col[patches]), axis=1)
            distinct = np.ones(needed.shape, bool)
            distinct[:, 1:] = needed[:, 1:] != needed[:, :-1]  # blocks_of pads rows by repeating an index
            patch, flat = np.nonzero(distinct)[0], needed[distinct]
            index, begins, count = np.unique(flat, return_index=True, return_counts=True)
            ends = len(flat) - 1 - np.unique(flat[::-1], return_index=True)[1]
            lifetime = max(lifetime, int((patch[ends] - patch[begins]).max(initial=0)) + 1)
            for flat_index, n, k in zip(index.tolist(), count.tolist(), patch[begins].tolist(), strict=True):
                block = Block(part.product, number, flat_index)
                uses[block] += n
                first_use.setdefault(block, start + k)
        start += len(part)
    # other ranks decode those of `receives`; those of `sends` are decoded before all patches
    unscheduled = {*work.receives, *work.sends}
    needed_first = sorted((k, block) for block, k in first_use.items() if block not in unscheduled)
    pixels = np.array([products[b.product].layers[b.layer].block_pixels(b.index) for _, b in needed_first], np.intp)
    before = smooth_load(np.array([k for k, _ in needed_first], np.intp), pixels, start, lifetime)
    decodes = [ScheduledDecode(k, block) for k, (_, block) in zip(before.tolist(), needed_first, strict=True)]
    return DecodeSchedule(uses, decodes, lifetime)


def smooth_load(first_use: IntArray, weight: IntArray, patches: int, horizon: int) -> IntArray:
    """Patch before which each block is decoded, so that weight is spread evenly over the next `horizon` patches.

    `first_use`: shape (block,), the patch that needs each block first, ascending, below `patches`. `weight`: shape
    (block,), cost of each block in pixels, 1 or more. Returns shape (block,), ascending, each at most `first_use` and
    less than `horizon` before it.
    """
    needed = np.zeros(patches + horizon, np.intp)
    np.add.at(needed, first_use, weight)
    # second sum: mean[k] is the average of the total need over the `horizon` patches from k on
    total = np.concatenate(([0], np.cumsum(np.cumsum(needed))))
    mean = (total[horizon:] - total[:-horizon]) // horizon
    before: IntArray = np.searchsorted(mean, np.cumsum(weight) - weight, side="right")
    return before
