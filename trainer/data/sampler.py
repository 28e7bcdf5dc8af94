"""Which row goes to which worker in which step: pure functions of (seed, epoch, rank, size).

The rows of an epoch stand in one order, drawn from the seed and the epoch alone. Step after step takes the next
`batch * size` of them, and each worker a contiguous part, so that the parts of all workers, step by step and rank by
rank, are that order again, whatever the number of workers. What is left for the last step is dealt evenly.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["Deal", "Share", "epoch_order"]


@lru_cache(maxsize=2)
def epoch_order(rows: int, seed: int, epoch: int, block: int = 1) -> npt.NDArray[np.int64]:
    """The order of an epoch: a permutation of `range(rows)`, int64, read-only.

    With `block` above 1, blocks of so many neighbours stay together, each shuffled in itself: less random, and read
    from a disk nearly in sequence.
    """
    numbers = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch))))
    if block == 1:
        order = numbers.permutation(rows)
    else:
        first = numbers.permutation(-(-rows // block)) * block
        order = np.concatenate([k + numbers.permutation(min(block, rows - k)) for k in first.tolist()])
    order.setflags(write=False)
    return order


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """What one worker takes in one step; always a whole batch, so that shapes stay fixed."""

    rows: npt.NDArray[np.int64]
    """(row,): positions among the training rows. Padding repeats rows of the same step: real pixels, so that the
    statistics of batch normalisation stay what they are."""

    weights: npt.NDArray[np.float32]
    """(row,): 0 for padding, else workers / rows of the step over all workers. So the sum over a batch of
    weight * loss, averaged over workers, is the mean loss of the step's rows."""


@dataclass(frozen=True, slots=True)
class Deal:
    """The plan of a run: step 0, 1, ... of all epochs."""

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

    def share(self, step: int, rank: int) -> Share:
        """The rows of worker `rank` in a step of the run, and their weights."""
        taken = self.step_rows(step)
        each, more = divmod(len(taken), self.size)
        first, own = rank * each + min(rank, more), each + (rank < more)
        if self.block:
            order = epoch_order(self.rows, self.seed, step // self.epoch_steps, self.block)[taken.start : taken.stop]
        else:
            order = np.arange(taken.start, taken.stop)
        places = (first + np.arange(self.batch)) % len(taken)
        weights = np.where(np.arange(self.batch) < own, self.size / len(taken), 0)
        return Share(order[places], weights.astype(np.float32))
