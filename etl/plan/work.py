"""Work of each rank: the patches that it extracts, the blocks that it decodes, and those it sends to others.

Two kinds of plan. `paper` assigns whole products by Algorithm 1 of Sedona et al. 2019. `cost` puts all work in store
order, each block at the last patch that needs it, and cuts this sequence into parts of equal seconds. Every block is
decoded once, by one rank, which sends it to the others that need it.

Ranks cannot wait for each other in a circle: each decodes and posts all blocks that others need before it waits for
any. With shards of one row (HDF5) `cost` sends blocks from higher to lower ranks only, as a block comes after its last
patch in the sequence. If whole shards must go to one rank (Zarr), patches move to another rank, but blocks stay, so a
block may also go to a higher rank.

Pure: integers in, dataclasses out. Which rank does what changes no value in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from etl.plan.layers import IntArray, Layer, block_pixel_counts, blocks_of

__all__ = ["Block", "Cost", "PatchRange", "Plan", "ProductPatches", "RankWork", "assign_tiles", "make_plan"]


_PATCHES_AT_ONCE = 1 << 20
"""Patches whose owners are computed at once: temporary arrays of millions of patches would fill rank 0's memory."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that work takes on one core; only their ratios matter."""

    decode_s_per_mpx: float = 0.13
    """Decoding one million pixels of one band of lossless JPEG 2000."""

    patch_s: float = 0.0015
    """Upsampling, summing, hashing and writing one patch."""

    def block_s(self, layer: Layer, index: int) -> float:
        """Time in seconds to decode one block of all bands of a layer."""
        return self.decode_s_per_mpx * layer.decode_cost * layer.block_pixels(index) * 1e-6

    def pixels_s(self, pixels: IntArray) -> npt.NDArray[np.float64]:
        """Time in seconds to decode blocks of so many pixels of JPEG 2000, all bands counted, shape (block,)."""
        return self.decode_s_per_mpx * pixels.astype(np.float64) * 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class ProductPatches:
    """Pending patches of one product, in store order. All arrays: shape (patch,)."""

    rows: IntArray
    """Store rows, ascending."""

    patch_row: IntArray
    """Row of each in the tile's patch grid."""

    patch_col: IntArray
    """Column of each in the tile's patch grid."""

    layers: tuple[Layer, ...] = ()
    """Layers that are decoded; empty for a patch archive, as each of its patches has its own files."""


@dataclass(frozen=True, slots=True)
class PatchRange:
    """Patches that one rank extracts: positions [first, stop) among the pending patches of one product.

    `product`: its index in the sequence that the plan is made of.
    """

    product: int
    first: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """One block of all bands of a layer of a product.

    `product`, `layer`: indices into the sequence that the plan is made of, and into the product's layers. `index`: flat
    block index, row by row.
    """

    product: int
    layer: int
    index: int


@dataclass(slots=True)
class RankWork:
    """The part of the work that one rank does."""

    patches: list[PatchRange] = field(default_factory=list)
    """Patches that it extracts and writes, in store order."""

    sends: dict[Block, tuple[int, ...]] = field(default_factory=dict)
    """Blocks that it decodes before all others, in order, each with the ranks that receive it; it may need them too."""

    receives: dict[Block, int] = field(default_factory=dict)
    """Blocks that other ranks decode for it, each with that rank. It decodes any other block that it needs itself."""

    @property
    def patch_count(self) -> int:
        """Number of patches."""
        return sum(map(len, self.patches))

    def store_rows(self, products: Sequence[ProductPatches]) -> IntArray:
        """Store rows of its patches, shape (patch,), ascending."""
        return np.concatenate(
            [np.empty(0, np.intp), *(products[p.product].rows[p.first : p.stop] for p in self.patches)]
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of every rank, and how long it is predicted to take."""

    work: tuple[RankWork, ...]
    """By rank."""

    decode_s: tuple[float, ...]
    """Predicted seconds of decoding, by rank."""

    busy_s: tuple[float, ...]
    """Predicted seconds of all work, by rank."""

    once_s: float
    """Predicted seconds to decode every needed block once."""

    blocks: int
    """Needed blocks of all layers, each counted once."""

    @property
    def inefficiency(self) -> float:
        """Ranks x predicted seconds of the slowest rank's decoding / `once_s`. 1 is the best, also if nothing is
        decoded."""
        return len(self.work) * max(self.decode_s) / self.once_s if self.once_s else 1.0


def make_plan(
    products: Sequence[ProductPatches], ranks: int, balance: str = "cost", cost: Cost | None = None, shard_rows: int = 1
) -> Plan:
    """Plan of the pending patches of `products` for `ranks` ranks.

    `balance`: cost or paper, see the top of this module. `cost`: seconds that work is predicted to take. `shard_rows`:
    neighbouring store rows that must go to one rank, because they are written as one piece.

    Raises:
        ValueError: unknown `balance`, or no rank.
    """
    if ranks < 1:
        raise ValueError(f"a plan needs at least one rank, got {ranks}")
    if balance not in ("cost", "paper"):
        raise ValueError(f"balance must be cost or paper, got {balance!r}")
    cost = cost or Cost()
    sequence = _WorkSequence.of(products, cost)
    if balance == "paper":
        product_owner = np.zeros(len(products), np.intp)
        for rank, numbers in enumerate(assign_tiles([len(item.rows) for item in products], ranks)):
            product_owner[list(numbers)] = rank
        patch_owner, block_owner = product_owner[sequence.patch_product], product_owner[sequence.block_product]
    else:
        patch_owner, block_owner = sequence.cut(ranks, cost)
    patch_owner = _keep_shards_whole(products, patch_owner, shard_rows)
    owners = np.split(patch_owner, np.cumsum([len(item.rows) for item in products], dtype=np.intp))[: len(products)]
    work = tuple(RankWork() for _ in range(ranks))
    _add_transfers(work, products, sequence, owners, block_owner)
    for number, patch_ranks in enumerate(owners):  # each rank's patches, as ranges of neighbours within a product
        edges = [0, *(np.flatnonzero(np.diff(patch_ranks)) + 1).tolist(), len(patch_ranks)]
        for first, stop in pairwise(edges):
            if stop > first:
                work[int(patch_ranks[first])].patches.append(PatchRange(number, first, stop))
    decode_s = np.bincount(block_owner, weights=sequence.block_s, minlength=ranks)
    # messages are left out: beside decoding they take no time that counts
    busy_s = decode_s + np.bincount(patch_owner, minlength=ranks) * cost.patch_s
    once_s = float(sequence.block_s.sum())
    return Plan(work, tuple(decode_s.tolist()), tuple(busy_s.tolist()), once_s, len(sequence.block_s))


def assign_tiles(patches: Sequence[int], ranks: int) -> list[tuple[int, ...]]:
    """Algorithm 1: indices of the tiles of each rank, from the number of patches of each tile.

    A product of the plan counts as a tile. Tiles are sorted by number of patches, most first, and cut into groups of
    `ranks` tiles. The first group goes to ranks 0, 1, ... in order; every later group, the last one padded, goes in
    reverse order, so that the rank with the largest tile gets the smallest of every later group, or none.

    Source: Sedona et al., Remote Sensing 2019, 11, 3056, Algorithm 1.
    """
    # stable: tiles with equally many patches stay in store order
    order = sorted(range(len(patches)), key=lambda tile: -patches[tile])
    assigned: list[list[int]] = [[] for _ in range(ranks)]
    for position, tile in enumerate(order):
        group, within = divmod(position, ranks)
        assigned[within if group == 0 else ranks - 1 - within].append(tile)
    return [tuple(sorted(numbers)) for numbers in assigned]


@dataclass(frozen=True, slots=True, eq=False)
class _WorkSequence:
    """All work in store order: patches, and each block after the last patch that needs it.

    Arrays have shape (patch,) or (block,).
    """

    patch_product: npt.NDArray[np.int32]
    """Product of each pending patch."""

    block_product: npt.NDArray[np.int32]
    """Product of each needed block."""

    block_layer: npt.NDArray[np.int32]
    """Layer of each needed block."""

    block_index: npt.NDArray[np.int32]
    """Flat index of each needed block within its layer."""

    block_last: npt.NDArray[np.int32]
    """Pending patch, counted over all products, that needs the block last; ascending."""

    block_s: npt.NDArray[np.float64]
    """Seconds to decode each needed block."""

    @classmethod
    def of(cls, products: Sequence[ProductPatches], cost: Cost) -> "_WorkSequence":
        """Sequence of the work of all products, with the seconds that each block takes."""
        # 32 bits, as a large archive has as many blocks as patches
        columns, seconds, start = [np.empty((4, 0), np.int32)], [np.empty(0)], 0
        for number, product in enumerate(products):
            of_product, pixels = [np.empty((4, 0), np.int32)], [np.empty(0, np.intp)]
            for layer_number, layer in enumerate(product.layers):
                needed = blocks_of(layer, product.patch_row, product.patch_col)
                # np.unique gives the first position of a value: reversed, the last patch that needs the block
                index, from_end = np.unique(needed.ravel()[::-1], return_index=True)
                last = len(product.rows) - 1 - from_end // needed.shape[1]
                keys = np.stack(np.broadcast_arrays(number, layer_number, index, start + last)).astype(np.int32)
                of_product.append(keys)
                pixels.append(block_pixel_counts(layer)[index])
            keys = np.concatenate(of_product, axis=1)
            order = np.lexsort((keys[2], keys[1], keys[3]))
            columns.append(keys[:, order])
            seconds.append(cost.pixels_s(np.concatenate(pixels)[order]))
            start += len(product.rows)
        patch_product = np.repeat(np.arange(len(products), dtype=np.int32), [len(item.rows) for item in products])
        product_, layer_, index_, last_ = np.concatenate(columns, axis=1)
        return cls(patch_product, product_, layer_, index_, last_, np.concatenate(seconds))

    def cut(self, ranks: int, cost: Cost) -> tuple[IntArray, IntArray]:
        """Owner of each patch and of each block: the sequence cut into parts of equal seconds.

        An item belongs to the part in which its middle lies.
        """
        patches = len(self.patch_product)
        before_block = np.cumsum(self.block_s) - self.block_s
        block_middle = before_block + self.block_s / 2 + (self.block_last + 1) * cost.patch_s
        decoded = np.concatenate(([0.0], np.cumsum(self.block_s)))
        part_s = (decoded[-1] + patches * cost.patch_s) / ranks
        patch_owner = np.empty(patches, np.intp)
        for first in range(0, patches, _PATCHES_AT_ONCE):
            patch = np.arange(first, min(patches, first + _PATCHES_AT_ONCE))
            decoded_before = decoded[np.searchsorted(self.block_last, patch, side="left")]
            patch_middle = decoded_before + (patch + 0.5) * cost.patch_s
            patch_owner[patch] = np.minimum((patch_middle / part_s).astype(np.intp), ranks - 1)
        return patch_owner, np.minimum((block_middle / part_s).astype(np.intp), ranks - 1)


def _keep_shards_whole(products: Sequence[ProductPatches], patch_owner: IntArray, shard_rows: int) -> IntArray:
    """Owner of each patch, shape (patch,), after all patches of a shard went to the owner of the middle one."""
    if shard_rows == 1 or not len(patch_owner):
        return patch_owner
    shards = np.concatenate([item.rows for item in products]) // shard_rows
    _, shard, patches = np.unique(shards, return_inverse=True, return_counts=True)
    # the middle patch moves the fewest patches to another rank; blocks stay with their owner
    middle = np.cumsum(patches) - patches + patches // 2
    owner: IntArray = patch_owner[middle][shard]
    return owner


def _add_transfers(
    work: Sequence[RankWork],
    products: Sequence[ProductPatches],
    sequence: _WorkSequence,
    owners: Sequence[IntArray],
    block_owner: IntArray,
) -> None:
    """Add to every rank's work the blocks that it sends and receives; `owners`: by product, the rank of each patch."""
    transfers = [np.empty((2, 0), np.intp)]
    starts = np.searchsorted(sequence.block_product, np.arange(len(products) + 1))
    for number, (product, patch_ranks) in enumerate(zip(products, owners, strict=True)):
        own = np.arange(starts[number], starts[number + 1])
        if len(own) and (patch_ranks == patch_ranks[0]).all() and (block_owner[own] == patch_ranks[0]).all():
            continue  # one rank has the whole product, as most of a large archive
        for layer_number, layer in enumerate(product.layers):
            needed = blocks_of(layer, product.patch_row, product.patch_col)
            places = np.zeros(layer.block_grid[0] * layer.block_grid[1], np.intp)  # in the sequence, by block
            of_layer = own[sequence.block_layer[own] == layer_number]
            places[sequence.block_index[of_layer]] = of_layer
            # each (block, rank) is one number, so that np.unique finds the distinct pairs
            index, rank = np.divmod(np.unique((needed * len(work) + patch_ranks[:, None]).ravel()), len(work))
            pairs = np.stack((places[index], rank))
            transfers.append(pairs[:, block_owner[pairs[0]] != rank])
    _share_blocks(work, sequence, block_owner, np.concatenate(transfers, axis=1))


def _share_blocks(
    work: Sequence[RankWork], sequence: _WorkSequence, block_owner: IntArray, transfers: IntArray
) -> None:
    """Let owners send blocks; `transfers`, shape (2, pair): a block's place in the sequence, a rank that needs it."""
    place, rank = transfers[:, np.lexsort((transfers[1], transfers[0]))]
    first = np.flatnonzero(np.diff(place, prepend=-1))  # where the pairs of the next block begin
    columns = (sequence.block_product, sequence.block_layer, sequence.block_index, block_owner)
    blocks = zip(*(column[place[first]].tolist() for column in columns), strict=True)
    for (product, layer, index, owner), receivers in zip(blocks, np.split(rank, first[1:]), strict=False):
        block = Block(product, layer, index)
        work[owner].sends[block] = tuple(receivers.tolist())
        for receiver in receivers.tolist():
            work[receiver].receives[block] = owner
