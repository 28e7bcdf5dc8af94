"""The small network: its size, its inputs, and that it takes what a run adds to a network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer.model.batch_norm import FusedNormalisation
from trainer.model.network import NetworkDesign, regularise
from trainer.model.small import small


@pytest.mark.parametrize(("side_px", "last_px"), [(32, 2), (64, 4), (99, 7), (120, 8)])
@pytest.mark.parametrize("channels", [3, 12, 14])
def test_it_takes_patches_of_each_size_and_number_of_bands(side_px, last_px, channels):
    network = small((side_px, side_px, channels))
    assert network.get_layer("stage3_relu").output.shape[1:] == (last_px, last_px, 128)
    features = network(np.ones((2, side_px, side_px, channels), np.float32))
    assert features.shape == (2, 128)
    assert np.isfinite(features).all()


@pytest.mark.parametrize("channels", [3, 12])
def test_its_parameters_are_those_of_its_convolutions_and_normalisations(channels):
    first, blocks, shortcuts = (
        16 * channels * 32,
        9 * (32 * 32 * 2 + 32 * 64 + 64 * 64 + 64 * 128 + 128 * 128),
        32 * 64 + 64 * 128,
    )
    normalised = 32 * 3 + 64 * 3 + 128 * 3
    assert small((32, 32, channels)).count_params() == first + blocks + shortcuts + 4 * normalised


def test_a_run_gives_it_its_penalties_and_normalisation_and_keeps_the_features():
    plain = small((32, 32, 3))
    network = regularise(plain, NetworkDesign(5, l2=0.01, norm_momentum=0.7), None)
    normalisations = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalisations) == len(network.losses) == 9
    assert {(type(layer), layer.momentum) for layer in normalisations} == {(FusedNormalisation, 0.7)}
    pixels = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(network(pixels), plain(pixels), atol=1e-5)


def test_gradients_reach_every_weight():
    network = small((32, 32, 3))
    pixels = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(network(pixels, training=True) ** 2)
    for variable, gradient in zip(
        network.trainable_variables, tape.gradient(total, [v.value for v in network.trainable_variables]), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.path
