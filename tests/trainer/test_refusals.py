"""What cannot be done is refused before the work that it would waste; and what is not named is found."""

import json
from pathlib import Path

import pytest
from stores import TRAIN, VAL, training_store

import trainer.fit.predictions
import trainer.fit.training
from etl.exit_status import ExitStatus
from trainer.config import PredictRunSettings, RunSettings, band_selections
from trainer.data.selection import RowSelection, select_rows
from trainer.evaluate import main as evaluate
from trainer.fit.checkpoint import LAST, Checkpoint, TrainingState
from trainer.fit.trained_network import describe_network, load_trained_network
from trainer.predict import main as predict
from trainer.run import main


@pytest.fixture
def store(tmp_path):
    training_store(tmp_path / "store.h5", [TRAIN] * 4 + [VAL] * 2)
    return tmp_path / "store.h5"


def fail(*_, **__):
    raise AssertionError("work was begun")


@pytest.mark.parametrize("out", ["table", "table.csv", "map.shp"])
def test_predictions_of_another_format_are_refused(out, capsys):
    with pytest.raises(SystemExit) as ended:
        predict(["--out", out])
    assert ended.value.code == ExitStatus.BAD_INPUT
    assert f"--out must end in .gpkg, .parquet, .tif or .png, got {out}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--stride", "500", "--out", "m.tif"), "--stride must be one of 1200, 600, 300 m, got 500"),
        (("--stride", "600", "--out", "m.gpkg"), "--stride 600 needs an image, --out NAME.tif, got m.gpkg"),
    ],
)
def test_a_stride_that_no_map_has_is_refused(flags, message, capsys):
    with pytest.raises(SystemExit):
        predict([*flags])
    assert message in capsys.readouterr().err


def test_a_table_may_be_named_in_upper_case():
    assert PredictRunSettings(out=Path("P.PARQUET")).out.name == "P.PARQUET"


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_an_output_that_cannot_be_written_is_refused_before_the_run_is_read(tmp_path, monkeypatch, caplog, command):
    monkeypatch.setattr(trainer.fit.predictions, "load_trained_network", fail)
    run, out = tmp_path / "run", tmp_path / "p.parquet"
    (run / "evaluate.test.json").mkdir(parents=True)
    out.mkdir()
    flags = {"predict": ["--run", str(run), "--out", str(out)], "evaluate": ["--run", str(run)]}[command]
    assert {"predict": predict, "evaluate": evaluate}[command](flags) == ExitStatus.BAD_INPUT
    assert "must be a file, is a folder" in caplog.text


def test_the_folder_of_a_table_is_made(tmp_path, monkeypatch, caplog):
    out = tmp_path / "new" / "p.parquet"
    assert predict(["--run", str(tmp_path), "--store", str(tmp_path / "no.h5"), "--out", str(out)]) == 2
    assert list(out.parent.iterdir()) == []


def test_a_run_that_cannot_be_resumed_is_refused_before_its_network_is_built(store, tmp_path, monkeypatch, caplog):
    settings = RunSettings(bands="rgb")
    rows = select_rows(store, RowSelection(band_selections(settings.bands)))
    network = describe_network(rows)
    (tmp_path / "run").mkdir()
    fingerprint = {"network": network, "settings": {"bands": "all"}, "workers": 1, "rows": 4}
    Checkpoint(fingerprint, TrainingState(), []).save(tmp_path / "run" / LAST)
    monkeypatch.setattr(trainer.fit.training, "build_network", fail)
    flags = ["--store", str(store), "--out", str(tmp_path / "run"), "--bands", "rgb", "--resume"]
    assert main(flags) == ExitStatus.BAD_INPUT
    assert "bands was all, is rgb" in caplog.text


def test_a_batch_of_more_than_all_rows_is_told_also_in_a_dry_run(store, tmp_path, caplog):
    assert main(["--store", str(store), "--out", str(tmp_path / "run"), "--batch", "5", "--dry-run"]) == 0
    assert "a step of 5 patches, --batch on each worker, is more than the 4 training rows" in caplog.text
    caplog.clear()
    assert main(["--store", str(store), "--out", str(tmp_path / "run"), "--batch", "4", "--dry-run"]) == 0
    assert "training rows: each epoch" not in caplog.text


def test_without_a_store_that_of_the_run_is_read(store, tmp_path):
    settings = RunSettings(bands="rgb")
    network = describe_network(select_rows(store, RowSelection(band_selections(settings.bands))))
    network["classes"][0] = "sea"
    Checkpoint({"network": network, "settings": {"bands": "rgb"}}, TrainingState(), []).save(tmp_path / LAST)
    with pytest.raises(ValueError, match=r"run\.json must name the store of the run, and does not; name one"):
        load_trained_network(tmp_path, None, "all", True)
    (tmp_path / "run.json").write_text(json.dumps({"settings": {"store": str(store)}}))
    with pytest.raises(ValueError, match=rf"the classes of {store} differ"):
        load_trained_network(tmp_path, None, "all", True)
