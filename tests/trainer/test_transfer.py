"""Training that starts from another run: what is taken of its weights, what stays frozen, at which rates."""

from types import SimpleNamespace

import numpy as np
import pytest

from etl.settings import settings_record
from trainer.config import RunSettings
from trainer.data.selection import PixelArray
from trainer.fit.checkpoint import LAST, Checkpoint, TrainingState
from trainer.fit.trained_network import describe_network
from trainer.fit.transfer import freeze_stages, rate_factors, transfer_weights
from trainer.model.batch_norm import moving_statistics
from trainer.model.network import HEAD, NetworkDesign, backbone_of, build_network


def rows_of(bands, classes, name="data_10m", side=32):
    """What a network needs to know of rows of a store."""
    count = len(bands)
    moments = np.full(count, 1000, np.float32), np.full(count, 500, np.float32)
    pixels = PixelArray(name, (side, side, count), tuple(range(count)), bands, *moments)
    return SimpleNamespace(pixels=(pixels,), classes=classes, upsample="none", single_label=False)


def built(rows, seed, architecture="resnet50"):
    design = NetworkDesign(len(rows.classes), 1e-4, 0.5, 0.9, architecture=architecture)
    return build_network(rows.pixels, design, seed), design


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run on three bands and two classes, and its network."""
    folder, rows = tmp_path_factory.mktemp("run"), rows_of(("B02", "B03", "B04"), ("a", "b"))
    model, _ = built(rows, seed=1)
    settings = settings_record(RunSettings())
    fingerprint = {"settings": settings, "network": describe_network(rows)}
    Checkpoint(fingerprint, TrainingState(), [v.numpy() for v in model.variables]).save(folder / LAST)
    return SimpleNamespace(folder=folder, model=model)


def test_weights_are_taken_band_by_band_and_class_by_class(run, caplog):
    caplog.set_level("INFO")
    rows = rows_of(("B08", "B04", "B03"), ("c", "b"))
    model, design = built(rows, seed=2)
    new = model.get_layer(HEAD).get_weights()
    transfer_weights(run.folder, model, rows, design, 0)
    old_layers, layers = ([one for one in backbone_of(m).layers if one.weights] for m in (run.model, model))
    old, found = old_layers[0].get_weights()[0], layers[0].get_weights()[0]
    np.testing.assert_array_equal(found[:, :, 1:], old[:, :, [2, 1]])  # B04 and B03
    np.testing.assert_allclose(found[:, :, 0], old.mean(axis=2), rtol=1e-6)  # B08, which the run has not
    for one, other in zip(old_layers[1:], layers[1:], strict=True):
        for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    kernel, of_run = model.get_layer(HEAD).get_weights()[0], run.model.get_layer(HEAD).get_weights()[0]
    np.testing.assert_array_equal(kernel[:, 1], of_run[:, 1])  # b
    np.testing.assert_array_equal(kernel[:, 0], new[0][:, 0])  # c, which is new
    assert "2 of 3 bands as they are there, the others as the mean; 1 of 2 classes, the others new" in caplog.text


def test_frozen_stages_are_not_trained_and_rates_fall_from_stage_to_stage(run):
    model, design = built(rows_of(("B02",), ("a",)), seed=2)
    every = len(moving_statistics(model))
    factors = dict(zip((v.path for v in model.trainable_variables), rate_factors(model, design, 0.5), strict=True))
    of = {name: next(f for path, f in factors.items() if f"/{name}" in path or path.startswith(name)) for name in
          ("conv1_conv", "conv2_block1_1_conv", "conv5_block3_3_bn", HEAD)}  # fmt: skip
    assert of == {"conv1_conv": 0.5**5, "conv2_block1_1_conv": 0.5**4, "conv5_block3_3_bn": 0.5, HEAD: 1.0}
    freeze_stages(model, design, 4)
    assert {v.path.split("/")[-2].split("_")[0] for v in model.trainable_variables} == {"conv5", HEAD}
    assert 0 < len(moving_statistics(model)) < every
    with pytest.raises(ValueError, match="--freeze must be at most 5"):
        freeze_stages(model, design, 6)


def test_a_run_that_is_missing_or_of_another_network_is_refused(run, tmp_path):
    rows = rows_of(("B02",), ("a",))
    with pytest.raises(ValueError, match="is not there"):
        transfer_weights(tmp_path / "none", run.model, rows, NetworkDesign(1), 0)
    with pytest.raises(ValueError, match="--network must be resnet50"):
        transfer_weights(run.folder, run.model, rows, NetworkDesign(1, architecture="resnet101"), 0)
    found = Checkpoint.load(run.folder / LAST)
    found.fingerprint["settings"]["weights"] = "imagenet.h5"
    found.save(tmp_path / LAST)
    with pytest.raises(ValueError, match="began with --weights"):
        transfer_weights(tmp_path, run.model, rows, NetworkDesign(1), 0)


def test_stages_that_would_not_know_a_band_are_not_frozen(run):
    rows = rows_of(("B02", "B08"), ("a",))
    model, design = built(rows, seed=2)
    with pytest.raises(ValueError, match="--freeze needs bands"):
        transfer_weights(run.folder, model, rows, design, 1)
