"""The network: its input's normalisation, its penalties against the closed form, its inputs, its first weights."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from stores import TRAIN, training_store

from trainer.config import band_selections
from trainer.data.selection import RowSelection, select_rows
from trainer.model.batch_norm import FusedNormalisation, count_single_pixel_layers
from trainer.model.network import NetworkDesign, Standardise, build_network


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    """Inputs of a store of random rows, by the name of --bands."""
    path = tmp_path_factory.mktemp("model") / "store.h5"
    training_store(path, [TRAIN] * 3)
    return {
        name: select_rows(path, RowSelection(band_selections(name))).pixels
        for name in ("rgb", "all", "native", "B02,B8A")
    }


def test_pixels_become_deviations_from_the_bands_mean_and_those_without_data_0():
    stored = np.array([[[[1000, 300, 0]]]], np.uint16)
    found = Standardise([1, 0, 2], [200.0, 500.0, 7.0], [50.0, 250.0, 1.0])(stored)
    np.testing.assert_allclose(found, [[[[2.0, 2.0, 0.0]]]])


def test_a_saturated_pixel_is_cut_off():
    assert Standardise([0], [1000.0], [100.0])(np.full((1, 1, 1, 1), 65535, np.uint16)).numpy().item() == 10


@pytest.mark.slow
def test_every_convolution_adds_the_closed_form_to_the_loss_and_its_gradient(pixels):
    model = build_network(pixels["rgb"], NetworkDesign(5, l2=0.01), seed=0)
    resnet = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    kernels = [layer.kernel for layer in resnet.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(kernels) == len(model.losses) == 53
    wanted = 0.01 * sum(np.square(k.numpy(), dtype=np.float64).sum() for k in kernels)
    with tf.GradientTape() as tape:
        total = tf.add_n(model.losses)
    assert float(total) == pytest.approx(wanted, rel=1e-5)
    np.testing.assert_allclose(tape.gradient(total, kernels[7].value), 2 * 0.01 * kernels[7].numpy(), rtol=1e-5)


def normalised(layer, dtype, batch):
    """What a layer makes of it in training, gradients of input and weights, its moving statistics, and what it makes of
    it by those; float64."""
    layer = layer(momentum=0.9, epsilon=1e-5, axis=3, dtype=dtype)
    layer.build(batch.shape)
    layer.gamma.assign([1.5, -0.5, 2.0])
    layer.beta.assign([0.1, 0.2, -3.0])
    x = tf.cast(batch, "float32" if dtype == "float32" else "bfloat16")
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x, training=True)
        total = tf.reduce_sum(tf.cast(out, tf.float32) ** 2 * np.linspace(0, 1, batch.size).reshape(batch.shape))
    gradients = tape.gradient(total, [x, layer.gamma.value, layer.beta.value])
    found = [out, *gradients, layer.moving_mean.value, layer.moving_variance.value, layer(x, training=False)]
    assert out.dtype == x.dtype
    return [tf.cast(value, tf.float64).numpy() for value in found]


@pytest.mark.parametrize(("dtype", "most"), [("float32", 5e-5), ("mixed_bfloat16", 2e-2)])
@pytest.mark.parametrize("shape", [(4, 5, 7, 3), (1, 3, 2, 3)])
def test_the_fused_normalisation_is_kerass_own_forwards_and_back_and_in_what_it_keeps(dtype, most, shape):
    batch = np.random.default_rng(0).normal([5, 0, -1], [1, 3, 0.1], shape).astype(np.float32)
    ours, keras_own = (normalised(kind, dtype, batch) for kind in (FusedNormalisation, keras.layers.BatchNormalization))
    for found, wanted in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(found, wanted, atol=most * np.abs(wanted).max())


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "float64"])
def test_a_single_value_is_normalised_by_the_moving_statistics_which_stay(dtype):
    batch = np.random.default_rng(0).normal([5, 0, -1], [1, 3, 0.1], (1, 1, 1, 3))
    layer = FusedNormalisation(momentum=0.9, epsilon=1e-5, axis=3, dtype=dtype)
    layer.build(batch.shape)
    layer.moving_mean.assign([4.0, 1.0, 0.0])
    layer.moving_variance.assign([4.0, 1.0, 0.25])
    out = layer(tf.cast(batch, layer.compute_dtype), training=True)
    wanted = (batch - [4, 1, 0]) / [2, 1, 0.5]
    np.testing.assert_allclose(tf.cast(out, tf.float64), wanted, rtol=1e-4 if dtype != "mixed_bfloat16" else 2e-2)
    assert layer.moving_mean.numpy().tolist() == [4.0, 1.0, 0.0]
    assert layer.moving_variance.numpy().tolist() == [4.0, 1.0, 0.25]


def test_layers_are_counted_whose_feature_map_is_a_single_pixel(pixels):
    small = tuple(dataclasses.replace(item, row_shape=(32, 32, 4)) for item in pixels["rgb"])
    assert count_single_pixel_layers(build_network(small, NetworkDesign(3), 0)) == (10, 53)


@pytest.mark.slow
@pytest.mark.parametrize(("bands", "channels", "penalties"), [("all", 12, 53), ("native", 48, 56), ("B02,B8A", 2, 53)])
def test_each_choice_of_bands_gives_its_channels_and_logits(pixels, bands, channels, penalties):
    model = build_network(pixels[bands], NetworkDesign(43, l2=1e-4, dropout=0.5), seed=0)
    resnet = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    assert (resnet.input_shape[-1], model.output_shape, len(model.losses)) == (channels, (None, 43), penalties)
    batch = [np.ones((2, *item.row_shape), np.uint16) for item in pixels[bands]]
    assert model(batch if len(batch) > 1 else batch[0], training=False).shape == (2, 43)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_first_weights(pixels):
    one, same, other = (build_network(pixels["rgb"], NetworkDesign(3), seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one[0], other[0])


def publish(path, network):
    """Write weights as keras.applications publishes them: in the format of Keras 2, whole layers at the root."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.1.6"
        for layer in network.layers:
            group, weights = file.create_group(layer.name), {f"{layer.name}/{w.name}:0": w for w in layer.weights}
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, weight in weights.items():
                group[name] = weight.numpy()
    return path


def test_imagenet_weights_are_taken_with_their_own_order_and_normalisation(pixels, tmp_path):
    plain = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=(120, 120, 3))
    path = publish(tmp_path / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5", plain)
    model = build_network(pixels["rgb"], NetworkDesign(3, imagenet=path), seed=4)
    stored = np.random.default_rng(0).integers(1, 2900, (2, 120, 120, 4), np.uint16)
    red_green_blue = stored[..., [2, 1, 0]] * np.float32(255 / 3000)
    features = plain(keras.applications.resnet.preprocess_input(red_green_blue.copy()))
    logits = model.get_layer("logits")(features)
    np.testing.assert_allclose(model(stored), logits, rtol=1e-3, atol=1e-4)


def test_imagenet_weights_that_do_not_fit_are_refused(pixels, tmp_path):
    with pytest.raises(ValueError, match="need --bands rgb"):
        build_network(pixels["all"], NetworkDesign(3, imagenet=tmp_path / "x.weights.h5"), seed=0)
    with pytest.raises(ValueError, match="must hold weights of resnet50"):
        build_network(pixels["rgb"], NetworkDesign(3, imagenet=tmp_path / "x.weights.h5"), seed=0)


def test_the_momentum_of_the_moving_statistics_is_as_designed(pixels):
    model = build_network(pixels["rgb"], dataclasses.replace(NetworkDesign(3), norm_momentum=0.7), seed=0)
    resnet = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    found = {layer.momentum for layer in resnet.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert found == {0.7}
