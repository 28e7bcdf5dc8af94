"""Losses held against those of Keras, and against their formulas in numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.config import RunSettings
from trainer.fit.loss import row_losses

RNG = np.random.default_rng(3)
LABELS = RNG.integers(0, 2, (6, 4)).astype(np.float32)
LOGITS = RNG.normal(0, 4, (6, 4)).astype(np.float32)
ONES = np.ones(4, np.float32)


def losses(labels=LABELS, weights=ONES, single_label=False, logits=LOGITS, **settings):
    loss = row_losses(RunSettings(**settings), weights, single_label)
    return loss(tf.constant(labels), tf.constant(logits)).numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_cross_entropy_of_several_labels_is_that_of_keras(smoothing):
    wanted = keras.losses.binary_crossentropy(LABELS, LOGITS, from_logits=True, label_smoothing=smoothing)
    np.testing.assert_allclose(losses(label_smoothing=smoothing), wanted, rtol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_cross_entropy_of_one_label_is_that_of_keras(smoothing):
    labels = np.eye(4, dtype=np.float32)[[0, 3, 1, 1, 2, 0]]
    wanted = keras.losses.categorical_crossentropy(labels, LOGITS, from_logits=True, label_smoothing=smoothing)
    np.testing.assert_allclose(losses(labels, single_label=True, label_smoothing=smoothing), wanted, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_the_focal_loss_is_that_of_keras(gamma):
    wanted = keras.losses.binary_focal_crossentropy(LABELS, LOGITS, from_logits=True, gamma=gamma)
    np.testing.assert_allclose(losses(loss="focal", gamma=gamma), wanted, rtol=1e-4)


def test_the_asymmetric_loss_is_its_formula():
    present = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    shifted = np.maximum(present - 0.05, 0)  # m = 0.05, exponents 0 and 4
    wanted = -(LABELS * np.log(present) + (1 - LABELS) * shifted**4 * np.log(1 - shifted))
    np.testing.assert_allclose(losses(loss="asymmetric"), wanted.mean(axis=1), rtol=1e-4)


@pytest.mark.parametrize("loss", ["cross-entropy", "focal", "asymmetric"])
def test_a_weight_counts_for_labels_that_are_present(loss):
    present = np.zeros((1, 4), np.float32)
    present[0, 2] = 1
    logits = np.array([[-60.0, -60.0, 0.5, -60.0]], np.float32)  # the absent ones cost nothing
    one, three = (losses(present, weight * ONES, logits=logits, loss=loss) for weight in (1, 3))
    np.testing.assert_allclose(three, 3 * one, rtol=1e-5)


@pytest.mark.parametrize("loss", ["cross-entropy", "focal", "asymmetric"])
def test_losses_and_gradients_of_extreme_logits_are_finite(loss):
    logits, labels = tf.constant([[300.0, -300.0, 0.0]] * 2), tf.constant([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        values = row_losses(RunSettings(loss=loss), np.ones(3, np.float32), False)(labels, logits)
    assert np.isfinite(values).all()
    assert np.isfinite(tape.gradient(values, logits)).all()
