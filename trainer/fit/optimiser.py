"""The optimiser of a run: Keras's, one for each learning rate, with an average of the weights if asked for.

Source: Loshchilov and Hutter 2019, arXiv 1711.05101 (AdamW); You et al. 2020, arXiv 1904.00962 (LAMB); Howard and Ruder
2018, arXiv 1801.06146, section 3.2 (discriminative rates); Polyak and Juditsky 1992 (averaged weights).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import tensorflow as tf

from trainer.config import RunSettings

__all__ = ["RunOptimiser", "VariableGroup", "build_optimiser"]


@dataclass(frozen=True, slots=True, eq=False)
class VariableGroup:
    """Variables of a network that are trained at one rate."""

    optimiser: keras.optimizers.Optimizer
    """Built for the variables."""

    places: tuple[int, ...]
    """Index of each variable among the network's trainable ones."""

    factor: float = 1.0
    """Their learning rate, divided by the run's."""


class RunOptimiser:
    """Trains all variables of a network; each belongs to one group."""

    def __init__(self, model: keras.Model, groups: Sequence[VariableGroup]) -> None:
        """`model`: the network, with its variables; `groups` name each trainable variable once."""
        self._trained = list(model.trainable_variables)
        self._groups = tuple(groups)

    @property
    def variables(self) -> list[keras.Variable]:
        """The state of all groups, in an order that depends on the settings alone."""
        return [variable for group in self._groups for variable in group.optimiser.variables]

    def set_rate(self, rate: float) -> None:
        """Set the run's learning rate; each group gets its fraction of it."""
        for group in self._groups:
            group.optimiser.learning_rate.assign(rate * group.factor)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Take one step; `gradients`: one for each trainable variable of the network, in its shape and dtype."""
        for group in self._groups:
            group.optimiser.apply([gradients[k] for k in group.places], [self._trained[k] for k in group.places])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The network has the average of its weights in the `with` block, those of the last step after it.

        Without an average it has the latter in both. The moving statistics of batch normalisation stay.
        """
        if not any(group.optimiser.use_ema for group in self._groups):
            yield
            return
        last = [variable.numpy() for variable in self._trained]
        for group in self._groups:
            group.optimiser.finalize_variable_values([self._trained[k] for k in group.places])
        try:
            yield
        finally:
            for variable, value in zip(self._trained, last, strict=True):
                variable.assign(value)


def build_optimiser(settings: RunSettings, model: keras.Model, factors: Sequence[float]) -> RunOptimiser:
    """The optimiser that the settings name; `factors`: learning rate of each trainable variable over the run's."""
    variables = model.trainable_variables
    groups = []
    for factor in sorted(set(factors)):
        places = tuple(k for k, value in enumerate(factors) if value == factor)
        optimiser = _keras_optimiser(settings)
        own = [variables[k] for k in places]
        if settings.optimiser != "sgd":
            optimiser.exclude_from_weight_decay(var_list=[v for v in own if len(v.shape) < 2])
        optimiser.build(own)  # its variables must exist to be restored
        groups.append(VariableGroup(optimiser, places, factor))
    return RunOptimiser(model, groups)


def _keras_optimiser(settings: RunSettings) -> keras.optimizers.Optimizer:
    averaging = {"use_ema": True, "ema_momentum": settings.ema} if settings.ema else {}
    if settings.optimiser == "sgd":
        nesterov = settings.momentum > 0
        return keras.optimizers.SGD(settings.rate, momentum=settings.momentum, nesterov=nesterov, **averaging)
    kind = {"adamw": keras.optimizers.AdamW, "lamb": keras.optimizers.Lamb}[settings.optimiser]
    return kind(settings.rate, weight_decay=settings.weight_decay, **averaging)
