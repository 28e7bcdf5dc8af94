"""Which row goes to which worker in which step: pure functions of (seed, epoch, rank, size).

The rows of an epoch have one order, drawn from the seed and the epoch alone. Each step takes the next `batch * size` of
them, and each worker a contiguous part of these. So the parts of all workers, step by step and rank by rank, are that
order again, whatever the number of workers. The last step of an epoch shares what is left evenly.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["DistributedSampler", "RankBatch", "epoch_order"]


@lru_cache(maxsize=2)
def epoch_order(rows: int, seed: int, epoch: int, block: int = 1) -> npt.NDArray[np.int64]:
    """The order of an epoch: a permutation of `range(rows)`, dtype int64, shape (row,), read-only.

    With `block` above 1, blocks of so many neighbours stay together, each shuffled in itself: less random, and read
    from a disk nearly in sequence.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch))))
    if block == 1:
        order = rng.permutation(rows)
    else:
        starts = rng.permutation(-(-rows // block)) * block
        order = np.concatenate([start + rng.permutation(min(block, rows - start)) for start in starts.tolist()])
    order.setflags(write=False)  # every caller gets the same cached array
    return order


@dataclass(frozen=True, slots=True, eq=False)
class RankBatch:
    """What one worker takes in one step; always a whole batch, so that shapes stay fixed."""

    positions: npt.NDArray[np.int64]
    """(row,): positions among the training rows. Padding repeats rows of the same step: real pixels, so that the
    statistics of batch normalisation stay what they are."""

    weights: npt.NDArray[np.float32]
    """(row,): 0 for padding, else workers / rows of the step over all workers. So the sum over a batch of
    weight * loss, averaged over workers, is the mean loss of the step's rows."""


@dataclass(frozen=True, slots=True)
class DistributedSampler:
    """Shares the rows of every step of a run, 0, 1, ... over all epochs, among workers."""

    rows: int
    """Training rows, at least 1."""

    batch: int
    """Rows that a worker takes in one step."""

    size: int
    """Number of workers."""

    seed: int = 0
    """Decides the order of rows."""

    block: int = 1
    """Neighbouring rows that stay together, see `epoch_order`; 0 for no shuffling at all."""

    def __post_init__(self) -> None:
        for name in ("rows", "batch", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch, the same on every worker."""
        return -(-self.rows // (self.batch * self.size))

    def step_rows(self, step: int) -> range:
        """Positions in the epoch's order that all workers together take in a step of the run."""
        first = step % self.epoch_steps * self.batch * self.size
        return range(first, min(first + self.batch * self.size, self.rows))

    def rank_batch(self, step: int, rank: int) -> RankBatch:
        """The rows of worker `rank` in a step of the run, and their weights; both of shape (batch,)."""
        step_rows = self.step_rows(step)
        each, remainder = divmod(len(step_rows), self.size)
        first, own = rank * each + min(rank, remainder), each + (rank < remainder)
        if self.block:
            order = epoch_order(self.rows, self.seed, step // self.epoch_steps, self.block)
            order = order[step_rows.start : step_rows.stop]
        else:
            order = np.arange(step_rows.start, step_rows.stop)
        # The remainder of the division pads a short last step with rows of that same step.
        places = (first + np.arange(self.batch)) % len(step_rows)
        weights = np.where(np.arange(self.batch) < own, self.size / len(step_rows), 0)
        return RankBatch(order[places], weights.astype(np.float32))
