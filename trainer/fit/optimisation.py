"""How fast a network learns: learning rates as pure functions of the epoch, the layer-wise rates of LARS.

Source: Sedona et al. 2019, section 3 (rate 0.1 k n / 256, warm-up over 5 epochs, tenths after 30, 60 and 80); Goyal et
al. 2017, arXiv 1706.02677 (gradual warm-up); You et al. 2017, arXiv 1708.03888 (LARS, polynomial decay).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DECAYS", "Schedule", "layer_rates", "rate_at"]

DECAYS = ("steps", "polynomial", "none")
"""What happens to the rate after the warm-up."""

STEP_EPOCHS = (30, 60, 80)
"""Epochs after which the rate falls to a tenth. Source: the paper."""

POWER = 2.0
"""Of the polynomial decay. Source: You et al. 2017."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What decides the learning rate at any time of a run."""

    base: float
    """Rate where all workers together take 256 rows a step."""

    worker_rows: int
    """Rows that one worker takes in one step, n."""

    workers: int
    """Number of workers, k."""

    warmup_epochs: float
    """Epochs in which the rate climbs from one worker's to that of all; 0 for none."""

    decay: str
    """One of `DECAYS`."""

    epochs: float
    """Length of the run; the polynomial ends at 0 there."""

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise ValueError(f"decay must be one of {', '.join(DECAYS)}, got {self.decay!r}")
        if self.base <= 0 or self.worker_rows < 1 or self.workers < 1:
            raise ValueError(
                "base, worker_rows and workers must be positive, "
                f"got {self.base}, {self.worker_rows} and {self.workers}"
            )
        if self.warmup_epochs < 0 or self.epochs <= 0:
            raise ValueError(
                f"warmup_epochs must be at least 0 and epochs above 0, got {self.warmup_epochs} and {self.epochs}"
            )


def rate_at(schedule: Schedule, epoch: float) -> float:
    """Learning rate when `epoch` epochs, whole or in part, are done.

    In the warm-up it climbs linearly from base x n / 256 to base x k x n / 256.
    """
    alone = schedule.base * schedule.worker_rows / 256
    whole = alone * schedule.workers
    if epoch < schedule.warmup_epochs:
        return alone + (whole - alone) * epoch / schedule.warmup_epochs
    if schedule.decay == "steps":
        return whole * float(0.1 ** sum(epoch >= boundary for boundary in STEP_EPOCHS))
    if schedule.decay == "polynomial":
        length = schedule.epochs - schedule.warmup_epochs
        left = max(0.0, schedule.epochs - epoch) / length if length > 0 else 0.0
        return whole * float(left**POWER)
    return whole


def layer_rates(gradients: "Sequence[Any]", weights: "Sequence[Any]", trust: float) -> list[Any]:
    """Gradients scaled layer by layer so that each step is a like share of its layer's weights (LARS).

    A gradient, whose loss holds the L2 term already, is multiplied by trust x |w| / |g|; biases and the parameters of
    normalisation (one axis) are left as they are, and so is a layer whose weights or gradient are all 0.
    """
    import tensorflow as tf

    scaled = []
    for gradient, weight in zip(gradients, weights, strict=True):
        if len(weight.shape) < 2:
            scaled.append(gradient)
            continue
        of_weight, of_gradient = tf.norm(weight), tf.norm(gradient)
        ratio = tf.where((of_weight > 0) & (of_gradient > 0), trust * of_weight / of_gradient, 1.0)
        scaled.append(gradient * tf.cast(ratio, gradient.dtype))
    return scaled
