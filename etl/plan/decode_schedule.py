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

from etl.plan.layers import IntArray, block_pixel_counts, blocks_of
from etl.plan.work import Block, ProductPatches, RankWork

__all__ = ["BlockUses", "DecodeSchedule", "ScheduledDecode", "block_uses", "schedule_decoding", "smooth_load"]


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


@dataclass(frozen=True, slots=True, eq=False)
class BlockUses:
    """Blocks that one rank's patches need, by the patch that needs each first; arrays of shape (block,).

    Arrays instead of objects: rank 0 predicts the decoding of all ranks, millions of blocks.
    """

    number: IntArray
    """Each block as one number, see `_number`."""

    patches: IntArray
    """Number of patches that need it."""

    first_use: IntArray
    """First patch that needs it, ascending."""

    pixels: IntArray
    """Pixels of JPEG 2000 that take as long to decode, all bands counted."""

    before_patch: IntArray
    """Patch just before which the rank decodes it, ascending; -1 if another rank decodes it, or it is sent."""

    lifetime: int
    """Largest number of patches from a block's first use to its last."""


def block_uses(work: RankWork, products: Mapping[int, ProductPatches]) -> BlockUses:
    """What one rank's patches need of its blocks, and when the rank decodes those that are its own."""
    columns, lifetime, start = [np.empty((4, 0), np.intp)], 1, 0
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
            block = _number(part.product, number, 0) + index
            columns.append(np.stack((block, count, start + patch[begins], block_pixel_counts(layer)[index])))
        start += len(part)
    blocks, counts, first_use, pixels = np.concatenate(columns, axis=1)
    # a block that two parts need is one; its first use is in the first of them
    block, place, again = np.unique(blocks, return_index=True, return_inverse=True)
    patches_ = np.zeros(len(block), np.intp)
    np.add.at(patches_, again, counts)
    order = np.argsort(first_use[place], kind="stable")
    block, place, patches_ = block[order], place[order], patches_[order]
    # other ranks decode those of `receives`; those of `sends` are decoded before all patches
    others = [_number(b.product, b.layer, b.index) for b in (*work.receives, *work.sends)]
    own = ~np.isin(block, np.array(others, np.intp))
    before = np.full(len(block), -1)
    before[own] = smooth_load(first_use[place[own]], pixels[place[own]], start, lifetime)
    return BlockUses(block, patches_, first_use[place], pixels[place], before, lifetime)


def _number(product: int, layer: int, index: int) -> int:
    """A block as one number, which grows with product, layer and flat index."""
    return product << 40 | layer << 32 | index


def _block(number: int) -> Block:
    return Block(number >> 40, number >> 32 & 0xFF, number & 0xFFFFFFFF)


def schedule_decoding(work: RankWork, products: Mapping[int, ProductPatches]) -> DecodeSchedule:
    """Schedule of one rank's decoding, weighted by the pixels of each block.

    Blocks that the rank sends to others are decoded before all patches and are not in `decodes`.
    """
    uses = block_uses(work, products)
    blocks, before = list(map(_block, uses.number.tolist())), uses.before_patch.tolist()
    decodes = [ScheduledDecode(patch, block) for patch, block in zip(before, blocks, strict=True) if patch >= 0]
    return DecodeSchedule(Counter(dict(zip(blocks, uses.patches.tolist(), strict=True))), decodes, uses.lifetime)


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
