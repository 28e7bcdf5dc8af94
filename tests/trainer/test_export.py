"""Networks that are handed on: the same probabilities in each format, without this package, and what stands beside."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from stores import TRAIN, VAL, training_store
from training_setups import ALONE

import trainer.export
from etl.exit_status import ExitStatus
from trainer.config import EvaluateRunSettings, RunSettings, band_selections
from trainer.data.selection import PixelArray, RowSelection, select_rows
from trainer.export import main
from trainer.fit.checkpoint import BEST, Checkpoint, TrainingState
from trainer.fit.predictions import load_and_predict
from trainer.fit.trained_network import describe_network, network_design, pixel_arrays
from trainer.model.network import NetworkDesign, build_network, to_probabilities
from trainer.model.portable import make_portable, write_onnx

FORMATS = ("model.keras", "model.onnx", "model")
TUNED = 0.25
MOST = 1e-6
"""How far probabilities of two formats may lie apart; 1.2e-7 was seen."""

LOADED = """
import sys
for name in ("trainer", "etl", "tests"):
    sys.modules[name] = None  # cannot be imported
import keras, numpy as np, tensorflow as tf
for folder in sys.argv[1:]:
    pixels = dict(np.load(f"{folder}/pixels.npz"))
    given = pixels if len(pixels) > 1 else next(iter(pixels.values()))
    loaded = keras.models.load_model(f"{folder}/model.keras")
    signature = tf.saved_model.load(f"{folder}/model").signatures["serving_default"]
    tensors = {name: tf.constant(array) for name, array in pixels.items()}
    np.savez(f"{folder}/found.npz", keras=loaded.predict(given, batch_size=2),
             saved_model=signature(**tensors)["probabilities"])
"""


def tiny_resnet(input_shape: tuple[int, int, int], **_: Any) -> keras.Model:
    """What takes the place of ResNet-50 within the network: small, with what other networks have and ONNX lacks."""
    inputs = keras.Input(input_shape)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, strides=8)(inputs))
    x = keras.layers.Activation("gelu")(keras.layers.Conv2D(4, 3, groups=4)(keras.layers.ReLU()(x)))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="resnet50")


def set_random_weights(model: keras.Model) -> None:
    """Give all variables values that no formula can leave out unseen, moving statistics too."""
    rng = np.random.default_rng(3)
    for variable in model.variables:
        low = 0.5 if "variance" in variable.path else -0.5
        variable.assign(rng.uniform(low, low + 1, variable.shape).astype(variable.dtype))


def make_run(folder: Path, store: Path, bands: str) -> Path:
    """A run's folder with the best network and the record of its thresholds; untrained."""
    settings = {"bands": bands, "l2": "0.001", "dropout": "0.5", "norm_momentum": "0.9", "weights": "None"}
    network = describe_network(select_rows(store, RowSelection(band_selections(bands))))
    fingerprint = {"network": network, "settings": settings}
    model = build_network(pixel_arrays(network), network_design(fingerprint), 0)
    set_random_weights(model)
    folder.mkdir()
    Checkpoint(fingerprint, TrainingState(step=7), [v.numpy() for v in model.variables]).save(folder / BEST)
    tuned = [{"threshold": TUNED}] * len(network["classes"])
    record = {"settings": {"store": str(store)}, "scores": {"val": {"tuned": {"classes": tuned}}}}
    (folder / "run.json").write_text(json.dumps(record))
    return folder


class Exported(NamedTuple):
    """A run's network in each of `FORMATS`."""

    folder: Path
    pixels: dict[str, npt.NDArray[Any]]
    """Of some rows, by input: uint16 (patch, row, col, band)."""

    expected: npt.NDArray[np.float32]
    """What trainer.predict finds for these rows, (patch, class)."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> dict[str, Exported]:
    """By name of --bands: a network with one input, and one with several."""
    folder, found = tmp_path_factory.mktemp("exported"), {}
    store = folder / "store.h5"
    training_store(store, [TRAIN] * 3 + [VAL] * 2)
    for bands in ("rgb", "native"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keras.applications, "ResNet50", tiny_resnet)
            run = make_run(folder / bands, store, bands)
            for name in FORMATS:
                assert main(["--run", str(run), "--out", str(run / name)]) == 0
            settings = EvaluateRunSettings(run, split="all", batch=2)
            rows, expected = load_and_predict(settings, ALONE, labelled_only=False, check=lambda: None)
        pixels = {p.name: rows.reader.read(p.name, rows.store_rows)[..., list(p.channels)] for p in rows.pixels}
        np.savez(run / "pixels.npz", **pixels)
        found[bands] = Exported(run, pixels, expected)
    return found


@pytest.mark.parametrize("bands", ["rgb", "native"])
def test_onnx_runtime_gives_the_probabilities_of_predict_for_any_number_of_patches(exported, bands):
    folder, pixels, expected = exported[bands]
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert expected.std(axis=0).max() > 1e-3  # else any network would do
    for count in (1, len(expected)):
        (found,) = session.run(["probabilities"], {name: array[:count] for name, array in pixels.items()})
        np.testing.assert_allclose(found, expected[:count], rtol=0, atol=MOST)


def test_keras_and_tensorflow_load_the_network_without_this_package(exported):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    call = [sys.executable, "-c", LOADED, *(str(folder) for folder, *_ in exported.values())]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    for folder, _, expected in exported.values():
        with np.load(folder / "found.npz") as found:
            for name in ("keras", "saved_model"):
                np.testing.assert_allclose(found[name], expected, rtol=0, atol=MOST)


@pytest.mark.parametrize("bands", ["rgb", "native"])
def test_what_a_user_must_know_stands_beside_each_format_and_in_the_onnx_file(exported, bands):
    folder, pixels, expected = exported[bands]
    told = [json.loads((folder / f"{name}.json").read_text()) for name in FORMATS]
    assert told[0] == told[1] == told[2]
    inputs, classes = told[0]["inputs"], told[0]["classes"]
    for item in inputs:
        assert item["shape"] == [None, *pixels[item["name"]].shape[1:]]
        assert len(item["bands"]) == len(item["mean"]) == item["shape"][-1]
        assert (item["dtype"], item["nodata"], item["units"][:28]) == ("uint16", 0, "surface reflectance x 10,000")
    assert inputs[0]["bands"] == {"rgb": ["B04", "B03", "B02"], "native": ["B02", "B03", "B04", "B08"]}[bands]
    assert [item["gsd_m"] for item in inputs] == {"rgb": [10], "native": [10, 20, 60]}[bands]
    assert [item["threshold"] for item in classes] == [TUNED] * expected.shape[1]
    assert (told[0]["upsample"], told[0]["trained_steps"]) == ("unknown", 7)
    metadata = onnxruntime.InferenceSession(folder / "model.onnx").get_modelmeta().custom_metadata_map
    assert (json.loads(metadata["inputs"]), json.loads(metadata["classes"])) == (inputs, classes)


@pytest.mark.parametrize("single_label", [False, True])
def test_a_portable_network_has_keras_layers_alone_and_treats_nodata_alike(monkeypatch, single_label):
    monkeypatch.setattr(keras.applications, "ResNet50", tiny_resnet)
    counts = PixelArray("data_10m", (40, 40, 4), (2, 0), ("B04", "B02"), np.float32([900, 700]), np.float32([300, 200]))
    decibels = PixelArray("data_s1", (40, 40, 2), (0, 1), ("VV", "VH"), np.float32([-9, -15]), np.float32([4, 5]),
                          "float32", None)  # fmt: skip
    model = build_network([counts, decibels], NetworkDesign(3, 1e-3, 0.5), 0)
    set_random_weights(model)
    rng = np.random.default_rng(0)
    pixels = {
        "data_10m": rng.integers(300, 1500, (3, 40, 40, 4), np.uint16),
        "data_s1": rng.normal(-12, 4, (3, 40, 40, 2)).astype(np.float32),
    }
    pixels["data_10m"][1, :30], pixels["data_10m"][2, 0] = 0, 65535
    pixels["data_s1"][2, :, 7:] = np.nan
    portable = make_portable(model, single_label)
    kinds = {type(layer) for layer in portable._flatten_layers()}
    assert {kind.__module__.partition(".")[0] for kind in kinds} == {"keras"}
    expected = to_probabilities(model(list(pixels.values()), training=False), single_label).numpy()
    found = portable.predict(pixels, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=MOST)
    assert np.isclose(found.sum(axis=1), 1).all() == single_label


def test_an_operation_that_onnx_lacks_is_told(tmp_path):
    inputs = keras.Input((2,))
    with pytest.raises(ValueError, match=r"ONNX must know every operation of the network; write another .* Erfinv"):
        write_onnx(keras.Model(inputs, keras.ops.erfinv(inputs)), tmp_path / "model.onnx", {})


def test_what_cannot_be_written_is_refused_before_the_run_is_read(tmp_path, monkeypatch, caplog, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--out", "model.pb"])
    assert ended.value.code == ExitStatus.BAD_INPUT
    assert "--out must end in .keras or .onnx, or have no suffix" in capsys.readouterr().err
    flags = ["--run", str(tmp_path / "none"), "--out"]
    assert main([*flags, str(tmp_path)]) == ExitStatus.BAD_INPUT
    assert "is there already; remove it" in caplog.text
    caplog.clear()
    assert main([*flags, str(tmp_path / "model.keras")]) == ExitStatus.BAD_INPUT
    assert "checkpoint.npz is not there" in caplog.text
    caplog.clear()
    monkeypatch.setattr(trainer.export, "find_spec", lambda name: None)
    assert main([*flags, str(tmp_path / "model.onnx")]) == ExitStatus.BAD_INPUT
    assert 'needs the packages onnx and tf2onnx: pip install "sentinel-etl[export]"' in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_run_whose_record_is_damaged_is_not_exported(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(keras.applications, "ResNet50", tiny_resnet)
    training_store(tmp_path / "store.h5", [TRAIN] * 2)
    run = make_run(tmp_path / "run", tmp_path / "store.h5", RunSettings(bands="rgb").bands)
    (run / "run.json").write_text("{")
    assert main(["--run", str(run), "--out", str(tmp_path / "out.keras")]) == ExitStatus.BAD_INPUT
    assert "run.json must be the JSON record of a run" in caplog.text
    assert not list(tmp_path.glob("out*"))
