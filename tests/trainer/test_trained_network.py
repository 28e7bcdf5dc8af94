"""A run's network on another store: what is refused, and with which words."""

from types import SimpleNamespace

import h5py
import pytest
from stores import TRAIN, training_store

from etl.settings import settings_record
from trainer.config import RunSettings, band_selections
from trainer.data.selection import RowSelection, select_rows
from trainer.fit.checkpoint import LAST, Checkpoint, TrainingState
from trainer.fit.trained_network import describe_network, load_trained_network


def test_a_network_of_native_bands_is_not_used_on_a_store_whose_bands_are_all_upsampled(tmp_path):
    settings = RunSettings(bands="all")
    for name, upsampled in (("native.h5", False), ("super.h5", True)):
        training_store(tmp_path / name, [TRAIN] * 2, upsampled=upsampled)
    network = describe_network(select_rows(tmp_path / "native.h5", RowSelection(band_selections(settings.bands))))
    checkpoint = Checkpoint({"network": network, "settings": {"bands": settings.bands}}, TrainingState(), [])
    checkpoint.save(tmp_path / LAST)
    message = r"trained on data_10m, data_20m, data_60m; --bands all of .*super\.h5 are of data_super"
    with pytest.raises(ValueError, match=message):
        load_trained_network(tmp_path, tmp_path / "super.h5", "all", True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ["sea"]}, r"the classes of .*store\.h5 differ .* first difference: .+ instead of sea"),
        (
            {"bands": ["B02", "B03", "B04"]},
            r"trained on data_10m of shape \(120, 120, 4\) with bands B02, B03, B04; "
            r"the store has data_10m of shape \(120, 120, 4\) with bands B04, B03, B02",
        ),
    ],
)
def test_a_store_with_other_classes_or_bands_is_refused_with_the_difference(tmp_path, change, message):
    store, settings = tmp_path / "store.h5", RunSettings(bands="rgb")
    training_store(store, [TRAIN] * 2)
    network = describe_network(select_rows(store, RowSelection(band_selections(settings.bands))))
    network |= {key: value for key, value in change.items() if key in network}
    network["inputs"][0] |= {key: value for key, value in change.items() if key in network["inputs"][0]}
    checkpoint = Checkpoint({"network": network, "settings": {"bands": settings.bands}}, TrainingState(), [])
    checkpoint.save(tmp_path / LAST)
    with pytest.raises(ValueError, match=message):
        load_trained_network(tmp_path, store, "all", True)


def test_a_store_without_any_label_takes_the_classes_of_the_network(tmp_path, monkeypatch):
    import trainer.fit.trained_network as module

    store, settings = tmp_path / "store.h5", RunSettings(bands="rgb")
    training_store(store, [TRAIN] * 2)
    network = describe_network(select_rows(store, RowSelection(band_selections(settings.bands))))
    network["classes"] = ["land", "sea"]
    Checkpoint({"network": network, "settings": settings_record(settings)}, TrainingState(), []).save(tmp_path / LAST)
    with h5py.File(store, "r+") as file:
        file["classes"][...] = 0
    monkeypatch.setattr(module, "build_network", lambda *_: SimpleNamespace(variables=[]))
    _, rows = load_trained_network(tmp_path, store, "all", False)
    assert rows.classes == ("land", "sea")
    assert rows.labels.tolist() == [[0, 0]] * 2
    with pytest.raises(ValueError, match="none of the 2 rows of split all has a label"):
        load_trained_network(tmp_path, store, "all", True)
