"""Model of the seconds of an epoch on n workers: divided work, a cost of each step for all-reduce, and a constant.

epoch(n) = work / n + together * steps(n) * (n - 1) / n + rest, all coefficients at least 0. In a ring all-reduce the
bytes that a worker sends grow as (n - 1) / n.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

__all__ = ["Model", "fit_model"]


@dataclass(frozen=True, slots=True)
class Model:
    """Coefficients of the model."""

    work_s: float
    """Seconds of an epoch on a single worker."""

    together_s: float
    """Seconds per step for averaging gradients over very many workers."""

    rest_s: float
    """Seconds per epoch that do not depend on the number of workers."""

    def epoch_s(self, workers: int, steps: float) -> float:
        """Seconds of an epoch of `steps` steps on `workers` workers."""
        return self.work_s / workers + self.together_s * steps * (workers - 1) / workers + self.rest_s


def fit_model(workers: Sequence[int], steps: Sequence[float], seconds: Sequence[float]) -> Model:
    """The model with the least squares of the relative errors of `seconds`."""
    n, k, wanted = np.array(workers, float), np.array(steps, float), np.array(seconds, float)
    parts = np.stack([1 / n, k * (n - 1) / n, np.ones_like(n)], axis=1) / wanted[:, None]
    coefficients, _ = nnls(parts, np.ones_like(wanted))
    return Model(*coefficients.tolist())
