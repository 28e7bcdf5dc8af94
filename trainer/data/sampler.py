"""Which row goes to which worker in which step: pure functions of (seed, epoch, rank, size).

The rows of an epoch have one shuffled order, which depends only on the seed and the epoch. Each step takes the next
`batch * size` of them, and each worker a contiguous part of these. So the parts of all workers, step by step and rank
by rank, give the same order, whatever the number of workers. The last step of an epoch divides the rest evenly.

A *position* is an index into the rows of an epoch before shuffling, for example into `SelectedRows.store_rows`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["NO_SHUFFLE", "DistributedSampler", "RankBatch", "epoch_order"]

NO_SHUFFLE = 0
"""Value of `shuffle_block` for rows in their given order, without any shuffling."""


@lru_cache(maxsize=2)
def epoch_order(rows: int, seed: int, epoch: int, shuffle_block: int = 1) -> npt.NDArray[np.int64]:
    """Positions in the order of an epoch: a permutation of `range(rows)`, dtype int64, shape (row,), read-only.

    If `shuffle_block` is above 1, the order of blocks of that many neighbouring rows is shuffled, and the rows within
    each block: less random, but a disk reads nearly in sequence.
    """
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch))))
    if shuffle_block == NO_SHUFFLE:
        order = np.arange(rows)
    elif shuffle_block == 1:
        order = rng.permutation(rows)
    else:
        starts = rng.permutation(-(-rows // shuffle_block)) * shuffle_block
        blocks = [start + rng.permutation(min(shuffle_block, rows - start)) for start in starts.tolist()]
        order = np.concatenate(blocks)
    order.setflags(write=False)  # every caller gets the same cached array
    return order


@dataclass(frozen=True, slots=True, eq=False)
class RankBatch:
    """The rows of one worker in one step; always a full batch, so that tensor shapes stay fixed."""

    positions: npt.NDArray[np.int64]
    """(batch,): index into the epoch's rows, in which oversampled rows occur more than once. A short batch is padded
    with rows of the same step, which a training step leaves out."""

    weights: npt.NDArray[np.float32]
    """(batch,): 0 for padding, else workers / rows of the step over all workers. So the sum over a batch of
    weight * loss, averaged over workers, is the mean loss of the step's rows."""


@dataclass(frozen=True, slots=True)
class DistributedSampler:
    """Divides the rows of each step among workers. Steps count from 0 over all epochs of a run."""

    rows: int
    """Rows of an epoch, at least 1."""

    batch: int
    """Rows per worker and step."""

    size: int
    """Number of workers."""

    seed: int = 0
    """Seed of the order of rows."""

    shuffle_block: int = 1
    """Neighbouring rows that shuffling keeps together, see `epoch_order`; or `NO_SHUFFLE`."""

    def __post_init__(self) -> None:
        for name in ("rows", "batch", "size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in an epoch, the same on every worker."""
        return -(-self.rows // (self.batch * self.size))

    def step_rows(self, step: int) -> range:
        """The part of the epoch's shuffled order that all workers together take in `step`, as indices into it."""
        first = step % self.steps_per_epoch * self.batch * self.size
        return range(first, min(first + self.batch * self.size, self.rows))

    def rank_rows(self, step: int, rank: int) -> range:
        """The part of `step_rows(step)` that worker `rank` takes, as indices into it; empty if there are too few."""
        rows_per_worker, remainder = divmod(len(self.step_rows(step)), self.size)
        first = rank * rows_per_worker + min(rank, remainder)
        return range(first, first + rows_per_worker + (rank < remainder))

    def rank_batch(self, step: int, rank: int) -> RankBatch:
        """Positions and weights of the rows of worker `rank` in `step`, both of shape (batch,)."""
        step_rows, own_rows = self.step_rows(step), self.rank_rows(step, rank)
        order = epoch_order(self.rows, self.seed, step // self.steps_per_epoch, self.shuffle_block)
        order = order[step_rows.start : step_rows.stop]
        # The modulo pads a batch of a short last step with rows of that same step.
        within_step = (own_rows.start + np.arange(self.batch)) % len(step_rows)
        weights = np.where(np.arange(self.batch) < len(own_rows), self.size / len(step_rows), 0)
        return RankBatch(order[within_step], weights.astype(np.float32))
