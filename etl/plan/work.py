"""Work of each rank: the patches that it assembles, the blocks that it decodes, and those it sends to others.

Two kinds of plan. `paper` assigns whole tiles by Algorithm 1 of Sedona et al. 2019. `cost` puts all work in store
order, each block at the last patch that needs it, and cuts this sequence into parts of equal seconds. Every block is
decoded once, by one rank, which sends it to the others that need it. Blocks go from higher to lower ranks only: the
blocks that a rank shares with the one below are those it needs first itself, so it decodes and sends them first.

Pure: integers in, dataclasses out. Which rank does what changes no value in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from etl.plan.layers import Index, Layer, blocks_of

__all__ = ["Block", "Cost", "PatchRange", "Plan", "RankWork", "Tile", "assign_tiles", "make_plan"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that work takes on one core; only their ratios matter."""

    decode_s_per_mpx: float = 0.13
    """Decoding one million pixels of one band of lossless JPEG 2000."""

    patch_s: float = 0.0015
    """Upsampling, summing, hashing and writing one patch."""

    def block_s(self, layer: Layer, index: int) -> float:
        """Time in seconds to decode one block of all bands of a layer."""
        return self.decode_s_per_mpx * layer.block_pixels(index) * 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """The pending patches of one tile, in store order. `rows`, `j`, `i`: shape (patch,)."""

    rows: Index
    """Store rows, ascending."""

    j: Index
    """Row of each in the tile's patch grid."""

    i: Index
    """Column of each in the tile's patch grid."""

    layers: tuple[Layer, ...] = ()
    """What is decoded; empty for a patch archive, where each patch has files of its own."""


@dataclass(frozen=True, slots=True)
class PatchRange:
    """Patches [first, stop) of the pending patches of one tile, all assembled by one rank."""

    tile: int
    """Index of the tile."""

    first: int
    """Position among the tile's pending patches."""

    stop: int
    """Position behind the last one."""

    def __len__(self) -> int:
        return self.stop - self.first


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """One block of all bands of a layer of a tile."""

    tile: int
    """Index of the tile."""

    layer: int
    """Index into the tile's layers."""

    index: int
    """Flat block index, row by row."""


@dataclass(slots=True)
class RankWork:
    """The part of the work that one rank does."""

    patches: list[PatchRange] = field(default_factory=list)
    """Patches that it assembles and writes, in store order."""

    sends: list[tuple[Block, tuple[int, ...]]] = field(default_factory=list)
    """(block, ranks): blocks that it decodes first and sends to these ranks; it may need them itself."""

    receives: dict[Block, int] = field(default_factory=dict)
    """Blocks that it gets, each with the rank that decodes it. Any other block that it needs it decodes itself."""

    @property
    def patch_count(self) -> int:
        """Number of patches."""
        return sum(map(len, self.patches))

    def store_rows(self, tiles: Sequence[Tile]) -> Index:
        """Store rows of its patches, shape (patch,), ascending."""
        return np.concatenate([np.empty(0, np.intp), *(tiles[p.tile].rows[p.first : p.stop] for p in self.patches)])


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
        """Ranks x predicted seconds of the slowest rank's decoding / `once_s`; 1 where nothing is decoded."""
        return len(self.work) * max(self.decode_s) / self.once_s if self.once_s else 1.0


def make_plan(
    tiles: Sequence[Tile], ranks: int, balance: str = "cost", cost: Cost | None = None, shard_rows: int = 1
) -> Plan:
    """Plan for `ranks` ranks.

    `balance`: cost or paper, see above. `cost`: seconds that work is predicted to take. `shard_rows`: neighbouring
    store rows that must go to one rank, because they are written as one piece.

    Raises:
        ValueError: unknown `balance`, or no rank.
    """
    if ranks < 1:
        raise ValueError(f"a plan needs at least one rank, got {ranks}")
    if balance not in ("cost", "paper"):
        raise ValueError(f"balance must be cost or paper, got {balance!r}")
    cost = cost or Cost()
    sequence = _WorkSequence.of(tiles, cost)
    if balance == "paper":
        owner_of_tile = np.zeros(len(tiles), np.intp)
        for rank, numbers in enumerate(assign_tiles([len(tile.rows) for tile in tiles], ranks)):
            owner_of_tile[list(numbers)] = rank
        patch_owner, block_owner = owner_of_tile[sequence.patch_tile], owner_of_tile[sequence.block_tile]
    else:
        patch_owner, block_owner = sequence.cut(ranks, cost)
    patch_owner = _keep_shards_whole(tiles, patch_owner, shard_rows)
    owners = np.split(patch_owner, np.cumsum([len(tile.rows) for tile in tiles], dtype=np.intp))[: len(tiles)]
    work = tuple(RankWork() for _ in range(ranks))
    _add_transfers(work, tiles, sequence, owners, block_owner)
    for number, of_tile in enumerate(owners):  # each rank's patches, as ranges of neighbours within a tile
        edges = [0, *(np.flatnonzero(np.diff(of_tile)) + 1).tolist(), len(of_tile)]
        for first, stop in pairwise(edges):
            if stop > first:
                work[int(of_tile[first])].patches.append(PatchRange(number, first, stop))
    decode_s = np.bincount(block_owner, weights=sequence.block_s, minlength=ranks)
    # messages are left out: beside decoding they take no time that counts
    busy_s = decode_s + np.bincount(patch_owner, minlength=ranks) * cost.patch_s
    once_s = float(sequence.block_s.sum())
    return Plan(work, tuple(decode_s.tolist()), tuple(busy_s.tolist()), once_s, len(sequence.block_s))


def assign_tiles(patches: Sequence[int], ranks: int) -> list[tuple[int, ...]]:
    """Algorithm 1: indices of the tiles of each rank, from the number of patches of each tile.

    Tiles are sorted by number of patches, most first, and cut into groups of `ranks` tiles. The first group goes to
    ranks 0, 1, ... in order; every later group, the last one padded, goes in reverse order, so that the rank with the
    largest tile gets the smallest of every later group, or none.

    Source: Sedona et al., Remote Sensing 2019, 11, 3056, Algorithm 1.
    """
    # stable: tiles with equally many patches stay in store order
    order = sorted(range(len(patches)), key=lambda tile: -patches[tile])
    assigned: list[list[int]] = [[] for _ in range(ranks)]
    for position, tile in enumerate(order):
        group, place = divmod(position, ranks)
        assigned[place if group == 0 else ranks - 1 - place].append(tile)
    return [tuple(sorted(numbers)) for numbers in assigned]


@dataclass(frozen=True, slots=True, eq=False)
class _WorkSequence:
    """All work in store order: patches, and each block behind the last patch that needs it. Arrays of one dimension."""

    patch_tile: Index
    """Tile of each pending patch."""

    block_tile: Index
    """Tile of each needed block."""

    block_layer: Index
    """Layer of each needed block."""

    block_index: Index
    """Flat index of each needed block within its layer."""

    block_last: Index
    """Pending patch, counted over all tiles, that needs the block last; ascending."""

    block_s: npt.NDArray[np.float64]
    """Seconds to decode each needed block."""

    @classmethod
    def of(cls, tiles: Sequence[Tile], cost: Cost) -> "_WorkSequence":
        """Sequence of the work of all tiles, with the seconds that each block takes."""
        keys, seconds, start = [np.empty((4, 0), np.intp)], [np.empty(0)], 0
        for number, tile in enumerate(tiles):
            for layer_number, layer in enumerate(tile.layers):
                needed = blocks_of(layer, tile.j, tile.i)
                # np.unique tells where a value comes first: reversed, that is the last patch that needs the block
                index, from_end = np.unique(needed.ravel()[::-1], return_index=True)
                last = len(tile.rows) - 1 - from_end // needed.shape[1]
                keys.append(
                    np.stack([np.full_like(index, number), np.full_like(index, layer_number), index, start + last])
                )
                seconds.append(np.array([cost.block_s(layer, block) for block in index.tolist()]))
            start += len(tile.rows)
        tile_, layer_, index_, last_ = np.concatenate(keys, axis=1)
        order = np.lexsort((index_, layer_, last_))
        patch_tile = np.repeat(np.arange(len(tiles)), [len(tile.rows) for tile in tiles])
        seconds_ = np.concatenate(seconds)
        return cls(patch_tile, tile_[order], layer_[order], index_[order], last_[order], seconds_[order])

    def cut(self, ranks: int, cost: Cost) -> tuple[Index, Index]:
        """Owner of each patch and of each block: the sequence cut into parts of equal seconds.

        An item belongs to the part in which its middle lies.
        """
        patches = len(self.patch_tile)
        before_block = np.cumsum(self.block_s) - self.block_s
        block_middle = before_block + self.block_s / 2 + (self.block_last + 1) * cost.patch_s
        decoded = np.concatenate(([0.0], np.cumsum(self.block_s)))
        blocks_before_patch = np.searchsorted(self.block_last, np.arange(patches), side="left")
        patch_middle = decoded[blocks_before_patch] + (np.arange(patches) + 0.5) * cost.patch_s
        part_s = (decoded[-1] + patches * cost.patch_s) / ranks
        owners = [np.minimum((middle / part_s).astype(np.intp), ranks - 1) for middle in (patch_middle, block_middle)]
        return owners[0], owners[1]


def _keep_shards_whole(tiles: Sequence[Tile], patch_owner: Index, shard_rows: int) -> Index:
    """Owner of each patch, where all patches of a shard go to the owner of the middle one."""
    if shard_rows == 1 or not len(patch_owner):
        return patch_owner
    shards = np.concatenate([tile.rows for tile in tiles]) // shard_rows
    _, shard, patches = np.unique(shards, return_inverse=True, return_counts=True)
    # the middle patch moves the fewest patches to another rank; blocks stay with their owner
    middle = np.cumsum(patches) - patches + patches // 2
    owner: Index = patch_owner[middle][shard]
    return owner


def _add_transfers(
    work: Sequence[RankWork],
    tiles: Sequence[Tile],
    sequence: _WorkSequence,
    owners: Sequence[Index],
    block_owner: Index,
) -> None:
    """Add to every rank's work the blocks that it sends and receives; `owners`: by tile, that of each patch."""
    needers: dict[Block, list[int]] = {}  # ranks that need each block, ascending
    for number, (tile, of_tile) in enumerate(zip(tiles, owners, strict=True)):
        for layer_number, layer in enumerate(tile.layers):
            needed = blocks_of(layer, tile.j, tile.i)
            for pair in np.unique((needed * len(work) + of_tile[:, None]).ravel()).tolist():
                needers.setdefault(Block(number, layer_number, pair // len(work)), []).append(pair % len(work))
    columns = (sequence.block_tile, sequence.block_layer, sequence.block_index)
    blocks = map(Block, *(column.tolist() for column in columns))
    for block, owner in zip(blocks, block_owner.tolist(), strict=True):
        others = tuple(rank for rank in needers[block] if rank != owner)
        if others:
            work[owner].sends.append((block, others))
            for rank in others:
                work[rank].receives[block] = owner
