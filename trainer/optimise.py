"""How a gradient changes the weights.

Source: Sedona et al. 2019, section 3: SGD with Nesterov momentum, initial rate 0.1 * k * n / 256.
"""

import keras

__all__ = ["initial_rate", "sgd"]


def initial_rate(rate: float, step_rows: int) -> float:
    """Learning rate where all workers together take `step_rows` rows a step; `rate` is that of 256."""
    return rate * step_rows / 256


def sgd(rate: float, momentum: float) -> keras.optimizers.Optimizer:
    """Stochastic gradient descent with Nesterov momentum."""
    return keras.optimizers.SGD(rate, momentum=momentum, nesterov=momentum > 0)
