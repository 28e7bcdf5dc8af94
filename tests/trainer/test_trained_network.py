"""A run's network on another store: what is refused, and with which words."""

import pytest
from stores import TRAIN, training_store

from trainer.config import RunSettings, band_selections
from trainer.data.selection import RowSelection, select_rows
from trainer.fit.checkpoint import LAST, Checkpoint, TrainingState
from trainer.fit.trained_network import describe_network, load_trained_network


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
