"""Seconds an epoch over workers: a model with a part that is shared, one for each step together, and one that stays.

epoch(n) = work / n + together * steps(n) * (n - 1) / n + rest, none of them negative; with a ring, what a worker sends
in an all-reduce grows as (n - 1) / n.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

__all__ = ["Model", "fit_model"]


@dataclass(frozen=True, slots=True)
class Model:
    """What was fitted."""

    work_s: float
    """Of one worker alone."""

    together_s: float
    """Of each step, for averaging gradients among very many workers."""

    rest_s: float
    """Of each epoch, whatever the number of workers."""

    def epoch_s(self, workers: int, steps: float) -> float:
        """Seconds of an epoch of `steps` steps on `workers` workers."""
        return self.work_s / workers + self.together_s * steps * (workers - 1) / workers + self.rest_s


def fit_model(workers: Sequence[int], steps: Sequence[float], seconds: Sequence[float]) -> Model:
    """The model with the smallest relative errors, squared."""
    n, k, wanted = np.array(workers, float), np.array(steps, float), np.array(seconds, float)
    parts = np.stack([1 / n, k * (n - 1) / n, np.ones_like(n)], axis=1) / wanted[:, None]
    found, _ = nnls(parts, np.ones_like(wanted))
    return Model(*found.tolist())
