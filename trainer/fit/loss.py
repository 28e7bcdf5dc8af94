"""The loss of a batch from labels and logits: cross-entropy, focal or asymmetric, for several labels a row or one.

Source: Lin et al. 2017, arXiv 1708.02002 (focal loss); Ben-Baruch et al. 2021, arXiv 2009.14119 (asymmetric loss);
Szegedy et al. 2016, arXiv 1512.00567, section 7 (label smoothing).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.config import RunSettings

__all__ = ["RowLosses", "row_losses"]

RowLosses = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(labels, logits), both float32, shape (row, class) -> loss of each row, float32, shape (row,)."""

_ASYMMETRIC_GAMMAS = (0.0, 4.0)
"""Exponents of present and of absent labels. Source: Ben-Baruch et al., section 3.1."""

_MARGIN = 0.05
"""Probability below which an absent label costs nothing in the asymmetric loss. Source: the same."""


def row_losses(settings: RunSettings, positive_weights: npt.NDArray[np.float32], single_label: bool) -> RowLosses:
    """The loss that the settings ask for; `positive_weights`: weight of a present label, float32, shape (class,).

    For several labels a row it is the mean over the classes of a binary loss. With one label a row, `single_label`, it
    is the cross-entropy of the softmax; the other losses are not for it.
    """
    weights, smoothing = tf.constant(positive_weights), settings.label_smoothing
    rest = 1 / len(positive_weights) if single_label else 0.5  # what a label is blended with

    def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """See `RowLosses`."""
        if smoothing:
            labels = labels * (1 - smoothing) + smoothing * rest
        if single_label:
            return -tf.reduce_sum(weights * labels * tf.nn.log_softmax(logits), axis=1)
        if settings.loss == "cross-entropy":
            return tf.reduce_mean(tf.nn.weighted_cross_entropy_with_logits(labels, logits, weights), axis=1)
        if settings.loss == "focal":
            return tf.reduce_mean(_focused(labels, logits, weights, (settings.gamma, settings.gamma), 0.0), axis=1)
        return tf.reduce_mean(_focused(labels, logits, weights, _ASYMMETRIC_GAMMAS, _MARGIN), axis=1)

    return loss


def _focused(
    labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor, gammas: tuple[float, float], margin: float
) -> tf.Tensor:
    """Binary loss in which labels that are predicted well count less, shape (row, class).

    `gammas`: exponents of present and of absent labels; `margin` is taken off the probability of absent ones.
    """
    present, absent = tf.sigmoid(logits), tf.sigmoid(-logits)
    wrong = tf.nn.relu(present - margin)  # how much an absent label was taken for a present one
    log_absent = tf.math.log(tf.minimum(absent + margin, 1.0)) if margin else tf.math.log_sigmoid(-logits)
    # x ** 0 has no gradient at x = 0
    present_factor = absent ** gammas[0] if gammas[0] else 1.0
    absent_factor = wrong ** gammas[1] if gammas[1] else 1.0
    found = weights * labels * present_factor * tf.math.log_sigmoid(logits)
    return -(found + (1 - labels) * absent_factor * log_absent)
