"""What version 0.1.0 left half done is brought to its end by this one, to the content that version would have given."""

import json

import h5py
import numpy as np
import pytest
from commands import ranks
from old_runs import (
    EXTRACT,
    TRAIN,
    array_digests,
    draw_archive,
    expected,
    file_digests,
    json_digest,
    scores_at_half,
    unpack,
)  # fmt: skip

from trainer.config import RunSettings

EXPECTED = expected()
STORES = sorted(EXPECTED["arrays"])
DIGESTS = ("digests/xxh3_64", "digests/array", "digests/part")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The sample that the runs were begun with, drawn anew, image for image the same bytes."""
    folder = tmp_path_factory.mktemp("archive")
    draw_archive(folder)
    assert file_digests(folder / "data" / "tiles") == EXPECTED["images"]
    return folder


@pytest.fixture
def left(archive, tmp_path):
    """A folder with the unfinished stores and the archive."""
    unpack(tmp_path, "data")
    for name in ("tiles", "patches.parquet"):
        (tmp_path / "data" / name).symlink_to(archive / "data" / name)
    return tmp_path


@pytest.mark.parametrize("name", STORES)
def test_an_old_journal_names_written_and_rejected_rows_but_not_all(tmp_path, name):
    unpack(tmp_path, "data")
    lines = (tmp_path / "data" / f"{name}.journal").read_text().splitlines()
    first, *entries = map(json.loads, lines)
    assert list(first) == ["begun_with"]
    finished = {row for entry in entries for start, stop in entry["rows"] for row in range(start, stop)}
    assert {EXPECTED["state"][row] for row in finished} == {1, 2}
    assert {EXPECTED["state"][row] for row in set(range(12)) - finished} == {1, 2}
    assert {EXPECTED["state"][int(row)] for entry in entries for row in entry["rejected"]} == {2}


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("name", STORES)
def test_an_old_unfinished_store_is_completed_to_equal_content_on_any_number_of_ranks(left, name, size):
    done = ranks(size, "etl.extract", "--out", f"data/{name}", "--resume", *EXTRACT, cwd=left)
    assert done.returncode == 0, done.stderr
    assert array_digests(left / "data" / name) == EXPECTED["arrays"][name]
    assert json.loads((left / "data" / "store.json").read_text())["rejected"] == EXPECTED["state"].count(2)


def test_an_old_unfinished_store_is_refused_with_other_settings_than_it_was_begun_with(left):
    done = ranks(1, "etl.extract", "--resume", *EXTRACT[:-1], "0.4", cwd=left)
    assert done.returncode == 2
    assert "max_cloud_share was 0.5, is 0.4" in done.stderr


def test_a_new_store_has_the_arrays_and_the_attributes_of_an_old_one(archive, tmp_path):
    out = tmp_path / "store.h5"
    done = ranks(2, "etl.extract", "--out", str(out), *EXTRACT, cwd=archive)
    assert done.returncode == 0, done.stderr
    found, wanted = array_digests(out), dict(EXPECTED["arrays"]["store.h5"])
    # since schema version 2 there are digests, and cloud and snow are shares of the pixels with data alone
    for new in ("nodata_share", *DIGESTS):
        del found[new]
    del found["cloud_share"], wanted["cloud_share"]
    assert found == wanted
    with h5py.File(out) as file:
        attributes = {"": sorted(file.attrs)}
        file.visititems(lambda name, item: attributes.update({name: sorted(item.attrs)}))
    for new in ("nodata_share", "digests", *DIGESTS):
        del attributes[new]
    assert attributes == EXPECTED["attributes"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_old_checkpoint_amid_an_epoch_is_trained_to_its_end(archive, left):
    """To the same weights on one kind of processor; elsewhere the first loss after it shows that it was taken up."""
    wanted, first = EXPECTED["training"], EXPECTED["training"]["resumed_at"]
    unpack(left, "run")
    done = ranks(1, "etl.extract", "--resume", *EXTRACT, cwd=left)
    assert done.returncode == 0, done.stderr
    done = ranks(1, "trainer.run", *TRAIN, "--out", "run", "--resume", cwd=left, timeout=500)
    assert done.returncode == 0, done.stderr
    assert f"resumed at step {first} of {wanted['steps']}" in done.stderr
    record = json.loads((left / "run" / "run.json").read_text())
    assert set(wanted["keys"]) <= set(record)
    assert record["steps"] == len(record["loss"]) == wanted["steps"]
    assert record["loss"][:first] == wanted["loss"][:first]
    assert record["loss"][first] == pytest.approx(wanted["loss"][first], rel=1e-3)
    kernels = ("python", "tensorflow", "tensorflow-cpu", "keras", "numpy")
    same = [record["processor"] == wanted["processor"]]
    same += [record["software"].get(name) == wanted["software"].get(name) for name in kernels]
    if all(same):
        assert record["loss"] == wanted["loss"]
        assert record["weights_checksums"] == wanted["weights_checksums"]
        scores = [epoch["val"] for epoch in record["by_epoch"]]
        assert [one["micro"] for one in scores] == wanted["scores"]
        found = [record["scores"]["val"]["at_half"], *scores]
        assert json_digest([scores_at_half(one) for one in found]) == wanted["scores_digest"]


def test_an_old_checkpoint_says_what_it_was_begun_with_in_settings_of_today(tmp_path):
    unpack(tmp_path, "run")
    for name in ("checkpoint.npz", "best.npz"):
        with np.load(tmp_path / "run" / name) as found:
            said = json.loads(found["said"].tobytes())
        assert set(said) == {"begun_with", "state"}
        assert set(said["begun_with"]["settings"]) <= set(RunSettings.__dataclass_fields__)


def test_an_old_record_with_its_scores_and_samples_is_drawn_whole(tmp_path):
    unpack(tmp_path, "finished")
    done = ranks(1, "trainer.report", "finished", "--out", "report", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 run, 5 of 11 figures ->" in done.stdout
    pictures = {path.name for path in (tmp_path / "report").glob("*.png")}
    assert pictures == {
        "loss_by_step.png", "loss_by_epoch.png", "f1_by_epoch.png", "f1_by_class.png", "samples_1.png",
    }  # fmt: skip
