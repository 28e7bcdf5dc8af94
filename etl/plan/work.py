"""Who does what: the rows that each rank assembles, the blocks that it decodes, and what it hands to others.

Two plans. `paper` deals whole tiles by Algorithm 1 of Sedona et al. 2019. `cost` lays all work along one line, in
store order, each block at the last patch that needs it, and cuts the line into parts of equal seconds: every block is
decoded once, by one rank, which sends it to the others that need it. Blocks flow from higher to lower ranks only: a
rank begins with what it sends, because it needs that first itself, and is sent what it needs last.

Pure: integers in, dataclasses out. Which rank does what changes no value in the store.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from etl.plan.layers import Index, Layer, blocks_of

__all__ = ["Block", "Cost", "Plan", "Run", "Share", "Tile", "deal_tiles", "make_plan"]


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds that work takes on one core; only their ratios matter."""

    decode_s_per_mpx: float = 0.13
    """Decoding one million pixels of one band of lossless JPEG 2000."""

    patch_s: float = 0.0015
    """Upsampling, summing, hashing and writing one patch."""

    def block_s(self, layer: Layer, index: int) -> float:
        """Seconds to decode one block of all bands of a layer."""
        return self.decode_s_per_mpx * layer.block_pixels(index) * 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """The pending patches of one tile, in store order."""

    rows: Index
    """Store rows, ascending."""

    j: Index
    """Patch row of each."""

    i: Index
    """Patch column of each."""

    layers: tuple[Layer, ...] = ()
    """What is decoded; empty where each patch has files of its own."""


@dataclass(frozen=True, slots=True)
class Run:
    """Patches [first, stop) of the pending patches of one tile, all made by one rank."""

    tile: int
    """Index of the tile."""

    first: int
    """Position among the tile's pending patches."""

    stop: int
    """Position behind the last one."""


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
class Share:
    """The part of the work of one rank."""

    runs: list[Run] = field(default_factory=list)
    """Patches that it assembles and writes, in store order."""

    sends: list[tuple[Block, tuple[int, ...]]] = field(default_factory=list)
    """Blocks that it decodes first and sends to these ranks; it may need them itself."""

    receives: dict[Block, int] = field(default_factory=dict)
    """Blocks that it gets from the rank that decodes them. Any other block that it needs it decodes itself."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One share a rank, and what it predicts."""

    shares: tuple[Share, ...]
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
        """Ranks x the slowest rank's predicted decoding / decoding every needed block once; 1 where nothing is."""
        return len(self.shares) * max(self.decode_s) / self.once_s if self.once_s else 1.0


def make_plan(
    tiles: Sequence[Tile], ranks: int, balance: str = "cost", cost: Cost | None = None, shard_rows: int = 1
) -> Plan:
    """Plan for `ranks` ranks; `balance` is cost or paper; `shard_rows` neighbouring store rows go to one rank.

    Raises:
        ValueError: unknown `balance`, or no rank.
    """
    if ranks < 1:
        raise ValueError(f"a plan needs at least one rank, got {ranks}")
    if balance not in ("cost", "paper"):
        raise ValueError(f"balance must be cost or paper, got {balance!r}")
    cost = cost or Cost()
    line = _Line.of(tiles, cost)
    if balance == "paper":
        dealt = deal_tiles([len(tile.rows) for tile in tiles], ranks)
        owner_of_tile = np.zeros(len(tiles), np.intp)
        for rank, mine in enumerate(dealt):
            owner_of_tile[list(mine)] = rank
        patch_owner, block_owner = owner_of_tile[line.patch_tile], owner_of_tile[line.block_tile]
    else:
        patch_owner, block_owner = line.cut(ranks, cost)
    patch_owner = _by_shard(tiles, patch_owner, shard_rows)
    return _assemble(tiles, line, (patch_owner, block_owner), ranks, cost)


def deal_tiles(patches: Sequence[int], ranks: int) -> list[tuple[int, ...]]:
    """Algorithm 1: tile indices by rank, from the number of patches of each tile.

    Tiles are sorted by number of patches, most first; the first `ranks` go to ranks 0, 1, ...; each further row of
    `ranks` tiles is dealt in reverse order, the last row padded, so that the rank with the largest tile gets the
    smallest of every later row, or none.

    Source: Sedona et al., Remote Sensing 2019, 11, 3056, Algorithm 1.
    """
    order = sorted(range(len(patches)), key=lambda tile: -patches[tile])
    dealt: list[list[int]] = [[] for _ in range(ranks)]
    for place, tile in enumerate(order):
        row, column = divmod(place, ranks)
        dealt[column if row == 0 else ranks - 1 - column].append(tile)
    return [tuple(sorted(mine)) for mine in dealt]


@dataclass(frozen=True, slots=True, eq=False)
class _Line:
    """All work in store order: patches, and each block behind the last patch that needs it."""

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
    def of(cls, tiles: Sequence[Tile], cost: Cost) -> "_Line":
        columns: list[list[npt.NDArray[np.generic]]] = [[] for _ in range(5)]
        start = 0
        for number, tile in enumerate(tiles):
            for layer_number, layer in enumerate(tile.layers):
                needed = blocks_of(layer, tile.j, tile.i)
                index, from_end = np.unique(needed.ravel()[::-1], return_index=True)
                last = len(tile.rows) - 1 - from_end // needed.shape[1]
                seconds = np.array([cost.block_s(layer, block) for block in index.tolist()])
                same = np.full(len(index), 1, np.intp)
                parts = (number * same, layer_number * same, index, start + last, seconds)
                for column, part in zip(columns, parts, strict=True):
                    column.append(part)
            start += len(tile.rows)
        merged = [np.concatenate(c) if c else np.empty(0, np.intp) for c in columns]
        order = np.lexsort((merged[2], merged[1], merged[3]))
        patch_tile = np.repeat(np.arange(len(tiles)), [len(tile.rows) for tile in tiles])
        tile_, layer_, index_, last_, seconds_ = (column[order] for column in merged)
        return cls(patch_tile, tile_, layer_, index_, last_, seconds_.astype(np.float64))

    def cut(self, ranks: int, cost: Cost) -> tuple[Index, Index]:
        """Owner of each patch and of each block: the line cut into parts of equal seconds, by each item's middle."""
        patches = len(self.patch_tile)
        before_block = np.cumsum(self.block_s) - self.block_s
        block_middle = before_block + self.block_s / 2 + (self.block_last + 1) * cost.patch_s
        decoded = np.concatenate(([0.0], np.cumsum(self.block_s)))
        blocks_before_patch = np.searchsorted(self.block_last, np.arange(patches), side="left")
        patch_middle = decoded[blocks_before_patch] + (np.arange(patches) + 0.5) * cost.patch_s
        part_s = (decoded[-1] + patches * cost.patch_s) / ranks
        owners = [np.minimum((middle / part_s).astype(np.intp), ranks - 1) for middle in (patch_middle, block_middle)]
        return owners[0], owners[1]


def _by_shard(tiles: Sequence[Tile], patch_owner: Index, shard_rows: int) -> Index:
    """Owner of each patch where a shard's patches all go to the owner of the middle one; blocks stay where they are."""
    if shard_rows == 1 or not len(patch_owner):
        return patch_owner
    shards = np.concatenate([tile.rows for tile in tiles]) // shard_rows
    _, shard, patches = np.unique(shards, return_inverse=True, return_counts=True)
    middle = np.cumsum(patches) - patches + patches // 2
    owner: Index = patch_owner[middle][shard]
    return owner


def _assemble(tiles: Sequence[Tile], line: _Line, owners: tuple[Index, Index], ranks: int, cost: Cost) -> Plan:
    """Shares from the owner of each patch and of each block."""
    patch_owner, block_owner = owners
    shares = tuple(Share() for _ in range(ranks))
    needers = _needers(tiles, patch_owner, ranks)
    decode_s = np.bincount(block_owner, weights=line.block_s, minlength=ranks)
    blocks = zip(line.block_tile.tolist(), line.block_layer.tolist(), line.block_index.tolist(), strict=True)
    for block, owner in zip((Block(*b) for b in blocks), block_owner.tolist(), strict=True):
        others = tuple(rank for rank in needers[block] if rank != owner)
        if others:
            shares[owner].sends.append((block, others))
            for rank in others:
                shares[rank].receives[block] = owner
    start = 0
    for number, tile in enumerate(tiles):
        mine = patch_owner[start : start + len(tile.rows)]
        edges = np.flatnonzero(np.diff(mine)) + 1
        for first, stop in zip([0, *edges.tolist()], [*edges.tolist(), len(mine)], strict=True):
            if stop > first:
                shares[int(mine[first])].runs.append(Run(number, first, stop))
        start += len(tile.rows)
    busy_s = decode_s + np.bincount(patch_owner, minlength=ranks) * cost.patch_s
    return Plan(shares, tuple(decode_s.tolist()), tuple(busy_s.tolist()), float(line.block_s.sum()), len(line.block_s))


def _needers(tiles: Sequence[Tile], patch_owner: Index, ranks: int) -> dict[Block, list[int]]:
    """Ranks that need each block, ascending."""
    found: dict[Block, list[int]] = {}
    start = 0
    for number, tile in enumerate(tiles):
        mine = patch_owner[start : start + len(tile.rows)]
        for layer_number, layer in enumerate(tile.layers):
            needed = blocks_of(layer, tile.j, tile.i)
            pairs = np.unique((needed * ranks + mine[:, None]).ravel())
            for pair in pairs.tolist():
                found.setdefault(Block(number, layer_number, pair // ranks), []).append(pair % ranks)
        start += len(tile.rows)
    return found
