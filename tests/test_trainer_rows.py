"""The rows that training takes from a store: which they are, their bytes, and stores that cannot be trained on."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from stores import TRAIN, VAL, training_store

from etl.store.schema import REJECTED, UNWRITTEN, WRITTEN
from trainer.rows import open_rows


def set_scalar(path: Path, name: str, value: int) -> None:
    with h5py.File(path, "r+") as file:
        file[name][()] = value


@pytest.fixture
def store(tmp_path):
    training_store(
        tmp_path / "store.h5", [TRAIN, VAL, TRAIN, TRAIN, VAL], [WRITTEN, WRITTEN, REJECTED, WRITTEN, WRITTEN]
    )
    return tmp_path / "store.h5"


def test_training_rows_are_those_written_of_the_split_train(store):
    assert open_rows(store, "data_super", ()).numbers.tolist() == [0, 3]


def test_where_a_store_has_no_splits_every_written_row_is_trained_on(tmp_path):
    training_store(tmp_path / "store.h5", [0, 0, 0], [WRITTEN, REJECTED, WRITTEN])
    assert open_rows(tmp_path / "store.h5", "data_10m", ()).numbers.tolist() == [0, 2]


def test_rgb_is_delivered_as_b04_b03_b02(store):
    assert open_rows(store, "data_10m", ("B04", "B03", "B02")).pixels.channels == (2, 1, 0)


@pytest.mark.parametrize("name", ["data_10m", "data_super"])
def test_rows_are_read_as_stored_in_any_order(tmp_path, name):
    arrays = training_store(tmp_path / "store.h5", [TRAIN] * 4)
    pixels = open_rows(tmp_path / "store.h5", name, ()).pixels
    order = np.array([3, 0, 0, 2])
    with (tmp_path / "store.h5").open("rb") as file:
        assert np.array_equal(pixels.read(file.fileno(), order), arrays[name][order])


def test_a_store_that_ends_early_is_an_error_while_reading(store):
    pixels = open_rows(store, "data_super", ()).pixels
    with store.open("r+b") as file:
        file.truncate(pixels.offset + 2 * pixels.row_bytes + 5)
        with pytest.raises(OSError, match=r"ends at byte \d+, inside data_super: it is truncated"):
            pixels.read(file.fileno(), np.array([2]))


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.h5 is not there; make it with etl\.extract"):
        open_rows(tmp_path / "none.h5", "data_super", ())


def test_an_incomplete_store_is_refused_with_the_way_to_complete_it(tmp_path):
    path = tmp_path / "store.h5"
    training_store(path, [TRAIN] * 3, [WRITTEN, UNWRITTEN, UNWRITTEN])
    set_scalar(path, "complete", 0)
    with pytest.raises(ValueError, match=r"incomplete, 2 of 3 rows are not written: .*etl\.extract --resume"):
        open_rows(path, "data_super", ())


def test_a_store_whose_split_train_is_empty_is_refused_with_the_counts(tmp_path):
    training_store(tmp_path / "store.h5", [VAL, TRAIN, VAL], [WRITTEN, REJECTED, WRITTEN])
    with pytest.raises(ValueError, match=r"no row to train on; .* none 0, train 0, val 2, test 0"):
        open_rows(tmp_path / "store.h5", "data_super", ())


def test_all_bands_of_a_store_without_upsampling_are_refused(tmp_path):
    training_store(tmp_path / "store.h5", [TRAIN], upsampled=False)
    with pytest.raises(ValueError, match="has no data_super"):
        open_rows(tmp_path / "store.h5", "data_super", ())
    assert len(open_rows(tmp_path / "store.h5", "data_10m", ("B04", "B03", "B02"))) == 1


def test_a_truncated_store_is_refused(store):
    with store.open("r+b") as file:
        file.truncate(store.stat().st_size // 2)
    with pytest.raises(ValueError, match="truncated"):
        open_rows(store, "data_super", ())


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ValueError, match="cannot be read"):
        open_rows(tmp_path / "text.h5", "data_super", ())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="must be a store"):
        open_rows(tmp_path / "other.h5", "data_super", ())


def test_a_store_of_another_schema_version_is_refused(store):
    with h5py.File(store, "r+") as file:
        file.attrs["schema_version"] = "0"
    with pytest.raises(ValueError, match="schema version 1, got 0"):
        open_rows(store, "data_super", ())
