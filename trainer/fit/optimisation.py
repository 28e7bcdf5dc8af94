"""Learning rate as a pure function of the epoch, and the layer-wise rates of LARS.

Source: Sedona et al. 2019, section 3 (rate 0.1 k n / 256, warm-up over 5 epochs, tenths after 30, 60 and 80); Goyal et
al. 2017, arXiv 1706.02677 (gradual warm-up); You et al. 2017, arXiv 1708.03888 (LARS, polynomial decay); Loshchilov and
Hutter 2017, arXiv 1608.03983 (cosine, one period).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainer.config import DECAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tensorflow as tf

__all__ = ["LearningRateSchedule", "layer_wise_gradients", "rate_at"]

_STEP_EPOCHS = (30, 60, 80)
"""Epochs after which the rate falls to a tenth. Source: the paper."""

_POWER = 2.0
"""Exponent of the polynomial decay. Source: You et al. 2017."""


@dataclass(frozen=True, slots=True)
class LearningRateSchedule:
    """Warm-up, scaling and decay of the learning rate over a run; `rate_at` evaluates it."""

    base: float
    """Learning rate for 256 rows per step over all workers."""

    worker_rows: int
    """Rows per worker and step; n in the paper."""

    workers: int
    """Number of workers; k in the paper."""

    warmup_epochs: float
    """Epochs over which the rate rises from one worker's to that of all workers; 0 for none."""

    decay: str
    """One of `config.DECAYS`."""

    epochs: float
    """Length of the run; the polynomial and the cosine reach their end there."""

    floor: float = 0.0
    """With cosine: fraction of the rate at which the warm-up begins and the decay ends."""

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise ValueError(f"decay must be one of {', '.join(DECAYS)}, got {self.decay!r}")
        if self.base <= 0 or self.worker_rows < 1 or self.workers < 1:
            raise ValueError(f"base, worker_rows and workers must be positive, got {self}")
        if self.warmup_epochs < 0 or self.epochs <= 0:
            raise ValueError(f"warmup_epochs must be at least 0 and epochs above 0, got {self}")


def rate_at(schedule: LearningRateSchedule, epoch: float) -> float:
    """Learning rate after `epoch` epochs, which may be a fraction.

    During the warm-up it rises linearly to base x k x n / 256: from base x n / 256, with cosine from the floor.
    """
    one_worker = schedule.base * schedule.worker_rows / 256
    all_workers = one_worker * schedule.workers
    lowest = all_workers * schedule.floor
    if epoch < schedule.warmup_epochs:
        first = lowest if schedule.decay == "cosine" else one_worker
        return first + (all_workers - first) * epoch / schedule.warmup_epochs
    if schedule.decay == "steps":
        return all_workers * float(0.1 ** sum(epoch >= boundary for boundary in _STEP_EPOCHS))
    if schedule.decay == "none":
        return all_workers
    length = schedule.epochs - schedule.warmup_epochs
    remaining = max(0.0, schedule.epochs - epoch) / length if length > 0 else 0.0
    if schedule.decay == "polynomial":
        return all_workers * float(remaining**_POWER)
    return lowest + (all_workers - lowest) * (1 - math.cos(math.pi * remaining)) / 2


def layer_wise_gradients(
    gradients: "Sequence[tf.Tensor]", weights: "Sequence[tf.Tensor]", trust: float
) -> "list[tf.Tensor]":
    """Gradients scaled so that a step changes each layer by the same fraction of its weights' norm (LARS).

    The gradient of a layer, L2 term included, is multiplied by trust x |w| / |g|. Biases and parameters of batch
    normalisation (tensors of one axis) keep their gradients, and so do layers whose weights or gradients are all 0.
    Shapes and dtypes are unchanged.
    """
    import tensorflow as tf

    scaled = []
    for gradient, weight in zip(gradients, weights, strict=True):
        if len(weight.shape) < 2:
            scaled.append(gradient)
            continue
        weight_norm, gradient_norm = tf.norm(weight), tf.norm(gradient)
        ratio = tf.where((weight_norm > 0) & (gradient_norm > 0), trust * weight_norm / gradient_norm, 1.0)
        scaled.append(gradient * tf.cast(ratio, gradient.dtype))
    return scaled
