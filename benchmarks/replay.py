"""Replay a plan with measured seconds of blocks: how long each rank is busy, and how long it waits for others.

Without I/O: it takes pending patches by product, a plan and seconds, and returns numbers. Messages between ranks take
no time in the replay, but ranks wait until the blocks that they need have been decoded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from etl.plan.layers import Layer, blocks_of
from etl.plan.work import Block, PatchRange, Plan, ProductPatches, RankWork

__all__ = ["Measured", "Replay", "Seconds", "draw", "pack_tiles", "replay"]

Seconds = Mapping[tuple[int, int], npt.NDArray[np.float64]]
"""By (product, layer): seconds to decode each block of the layer, by its flat index; NaN if no patch needs it."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds per million pixels of each measured block, by layer name and whether the tile's border cuts the block."""

    rates: Mapping[tuple[str, bool], npt.NDArray[np.float64]]

    @classmethod
    def of(cls, layers: Sequence[Layer], seconds: Mapping[tuple[str, int], float]) -> "Measured":
        """Rates from the seconds of blocks, all bands together, by (layer name, flat index)."""
        rates: dict[tuple[str, bool], list[float]] = {}
        by_name = {layer.name: layer for layer in layers}
        for (name, index), taken_s in seconds.items():
            layer = by_name[name]
            pixels, cut = _pixels(layer, index)
            rates.setdefault((name, cut), []).append(taken_s / pixels * 1e6)
        return cls({key: np.array(values) for key, values in rates.items()})

    def of_block(self, layer: Layer, index: int, numbers: np.random.Generator) -> float:
        """Seconds of one block, drawn at random from the measured rates of its kind."""
        pixels, cut = _pixels(layer, index)
        kind = (layer.name, cut) if (layer.name, cut) in self.rates else (layer.name, not cut)
        return float(numbers.choice(self.rates[kind])) * pixels * 1e-6


def _pixels(layer: Layer, index: int) -> tuple[int, bool]:
    """Pixels of a block in one band, and whether it is smaller than the others."""
    _, _, height, width = layer.block_window(index)
    return height * width, (height, width) != layer.block_px


def draw(products: Sequence[ProductPatches], measured: Measured, spread: float = 0.0, seed: int = 0) -> Seconds:
    """Seconds of each needed block, drawn at random from the measured ones; the same for the same seed.

    `spread`: standard deviation of the natural logarithm of a factor that all blocks of one product share.
    """
    out = {}
    for number, product in enumerate(products):
        numbers = np.random.default_rng([seed, number])
        factor = float(np.exp(spread * numbers.standard_normal() - spread**2 / 2))
        for k, layer in enumerate(product.layers):
            seconds = np.full(layer.block_grid[0] * layer.block_grid[1], np.nan)
            needed = np.unique(blocks_of(layer, product.patch_row, product.patch_col))
            seconds[needed] = [factor * measured.of_block(layer, int(index), numbers) for index in needed]
            out[number, k] = seconds
    return out


@dataclass(frozen=True, slots=True)
class Replay:
    """Times of each rank."""

    decode_s: npt.NDArray[np.float64]
    """Seconds of decoding, by rank."""

    busy_s: npt.NDArray[np.float64]
    """Seconds of all work, by rank."""

    finish_s: npt.NDArray[np.float64]
    """Time in seconds at which each rank is done, waiting for blocks of other ranks included."""

    once_s: float
    """Seconds to decode each needed block once."""

    work_s: float
    """`once_s` plus the seconds of all patches."""

    @property
    def decode_inefficiency(self) -> float:
        """Ranks x decoding time of the slowest rank / time to decode each needed block once."""
        return len(self.decode_s) * float(self.decode_s.max()) / self.once_s

    @property
    def inefficiency(self) -> float:
        """Ranks x working time of the slowest rank / time of all work done once."""
        return len(self.busy_s) * float(self.busy_s.max()) / self.work_s

    @property
    def inefficiency_with_waiting(self) -> float:
        """Ranks x time at which the last rank is done / time of all work done once."""
        return len(self.finish_s) * float(self.finish_s.max()) / self.work_s

    @property
    def decoded_twice(self) -> float:
        """Decoding that is done more than once, as a fraction of `once_s`."""
        return float(self.decode_s.sum()) / self.once_s - 1.0


def replay(plan: Plan, products: Sequence[ProductPatches], seconds: Seconds, patch_s: float) -> Replay:
    """Replay the work of each rank: first the blocks that others wait for, then its patches in store order."""
    ranks = len(plan.work)
    decode_s, busy_s, finish_s = np.zeros(ranks), np.zeros(ranks), np.zeros(ranks)
    arrival: dict[tuple[Block, int], float] = {}
    for rank, work in enumerate(plan.work):
        for sent in work.sends:
            decode_s[rank] += seconds[sent.product, sent.layer][sent.index]
            arrival[sent, rank] = float(decode_s[rank])
    for rank, work in enumerate(plan.work):
        have = set(work.sends)
        now = float(decode_s[rank])
        for patches, block in _needs(work, products):
            now += patches * patch_s
            busy_s[rank] += patches * patch_s
            if block is None or block in have:
                continue
            have.add(block)
            if block in work.receives:
                now = max(now, arrival[block, work.receives[block]])
            else:
                taken_s = seconds[block.product, block.layer][block.index]
                decode_s[rank] += taken_s
                now += taken_s
        finish_s[rank] = now
    once_s = float(sum(np.nansum(values) for values in seconds.values()))
    patches = sum(len(product.rows) for product in products)
    return Replay(decode_s, busy_s + decode_s, finish_s, once_s, once_s + patches * patch_s)


def _needs(work: RankWork, products: Sequence[ProductPatches]) -> Iterator[tuple[int, Block | None]]:
    """(patches finished before, block needed next), in order; None at the end of each range of patches."""
    for part in work.patches:
        done = 0
        for place, block in _first_needs(part, products[part.product]):
            yield place - done, block
            done = place
        yield len(part) - done, None


def _first_needs(part: PatchRange, product: ProductPatches) -> list[tuple[int, Block]]:
    """(index of the first patch in the range that needs it, block) of each block, in order."""
    needs = []
    patches = slice(part.first, part.stop)
    for k, layer in enumerate(product.layers):
        needed = blocks_of(layer, product.patch_row[patches], product.patch_col[patches])
        index, first = np.unique(needed.ravel(), return_index=True)
        places = (first // needed.shape[1]).tolist()
        needs += [(p, Block(part.product, k, b)) for p, b in zip(places, index.tolist(), strict=True)]
    return sorted(needs)


def pack_tiles(products: Sequence[ProductPatches], seconds: Seconds, patch_s: float, ranks: int) -> float:
    """Inefficiency of assigning whole products, longest first, each to the rank with the least work so far (LPT)."""
    own = np.zeros(len(products))
    for (number, _), values in seconds.items():
        own[number] += np.nansum(values)
    own += np.array([len(product.rows) for product in products]) * patch_s
    load = np.zeros(ranks)
    for work_s in np.sort(own)[::-1]:
        load[load.argmin()] += work_s
    return ranks * float(load.max()) / float(own.sum())
