"""The rows that training takes from a store: which they are, their bytes, and stores that cannot be trained on."""

import h5py
import numpy as np
import pytest
from stores import TRAIN, VAL, set_scalar, training_store

from etl.schema import REJECTED, UNWRITTEN, WRITTEN
from etl.store.reader import StoreReader
from etl.store.statistics import from_words
from etl.store.sync import sync_and_drop_cache
from trainer.config import BandSelection, band_selections
from trainer.data.normalisation import moments
from trainer.data.selection import RowSelection, select_rows


def read(path, name, bands=(), **wanted):
    return select_rows(path, RowSelection((BandSelection(name, bands),), **wanted))


@pytest.fixture
def store(tmp_path):
    training_store(
        tmp_path / "store.h5", [TRAIN, VAL, TRAIN, TRAIN, VAL], [WRITTEN, WRITTEN, REJECTED, WRITTEN, WRITTEN]
    )
    return tmp_path / "store.h5"


def test_training_rows_are_those_written_of_the_split_train(store):
    assert read(store, "data_super").store_rows.tolist() == [0, 3]


def test_where_a_store_has_no_splits_every_written_row_is_trained_on(tmp_path):
    training_store(tmp_path / "store.h5", [0, 0, 0], [WRITTEN, REJECTED, WRITTEN])
    assert read(tmp_path / "store.h5", "data_10m").store_rows.tolist() == [0, 2]


def test_rgb_is_delivered_as_b04_b03_b02(store):
    assert read(store, "data_10m", ("B04", "B03", "B02")).pixels[0].channels == (2, 1, 0)


@pytest.mark.parametrize("name", ["data_10m", "data_super"])
def test_rows_are_read_as_stored_in_any_order(tmp_path, name):
    arrays = training_store(tmp_path / "store.h5", [TRAIN] * 4)
    pixels = read(tmp_path / "store.h5", name).pixels[0]
    order = np.array([3, 0, 0, 2])
    reader, out = StoreReader(tmp_path / "store.h5"), np.empty((4, *pixels.row_shape), np.uint16)
    for _ in range(2):
        out[...] = 0
        reader.read_rows(name, order, out)
        assert np.array_equal(out, arrays[name][order])
        sync_and_drop_cache(tmp_path / "store.h5")  # at the second time the rows are not in memory


def test_a_store_that_ends_early_is_an_error_while_reading(store):
    rows = read(store, "data_super")
    with h5py.File(store) as file:
        offset = file["data_super"].id.get_offset()
    with store.open("r+b") as file:
        file.truncate(offset + 2 * rows.row_bytes + 5)
        with pytest.raises(OSError, match=r"store\.h5 is truncated: it ends before row 2"):
            rows.reader.read("data_super", np.array([2]))


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"none\.h5 is not there; make it with etl\.extract"):
        read(tmp_path / "none.h5", "data_super")


def test_an_incomplete_store_is_refused_with_the_way_to_complete_it(tmp_path):
    path = tmp_path / "store.h5"
    training_store(path, [TRAIN] * 3, [WRITTEN, UNWRITTEN, UNWRITTEN])
    set_scalar(path, "complete", 0)
    with pytest.raises(ValueError, match=r"incomplete, 2 of 3 rows are not written: .*etl\.extract --resume"):
        read(path, "data_super")


def test_a_store_whose_split_train_is_empty_is_refused_with_the_counts(tmp_path):
    training_store(tmp_path / "store.h5", [VAL, TRAIN, VAL], [WRITTEN, REJECTED, WRITTEN])
    with pytest.raises(ValueError, match=r"no row of split train; .* none 0, train 0, val 2, test 0"):
        read(tmp_path / "store.h5", "data_super")


def test_all_bands_of_a_store_without_upsampling_are_the_native_ones_and_a_list_is_refused(tmp_path):
    training_store(tmp_path / "store.h5", [TRAIN], upsampled=False)
    rows = select_rows(tmp_path / "store.h5", RowSelection(band_selections("all")))
    assert [(item.name, len(item.bands)) for item in rows.pixels] == [("data_10m", 4), ("data_20m", 6), ("data_60m", 2)]
    with pytest.raises(ValueError, match="has no data_super"):
        read(tmp_path / "store.h5", "data_super", ("B05", "B06"))
    assert len(read(tmp_path / "store.h5", "data_10m", ("B04", "B03", "B02"))) == 1


def test_a_truncated_store_is_refused(store):
    with store.open("r+b") as file:
        file.truncate(store.stat().st_size // 2)
    with pytest.raises(ValueError, match="truncated"):
        read(store, "data_super")


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ValueError, match="cannot be opened as HDF5"):
        read(tmp_path / "text.h5", "data_super")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match="must be a store"):
        read(tmp_path / "other.h5", "data_super")


def test_a_store_of_another_schema_version_is_refused(store):
    with h5py.File(store, "r+") as file:
        file.attrs["schema_version"] = "0"
    with pytest.raises(ValueError, match="schema version 1 or 2 or 3, got 0"):
        read(store, "data_super")


def test_a_chunked_compressed_store_is_read_through_hdf5(store, tmp_path):
    contiguous = read(store, "data_10m").reader
    with h5py.File(store) as file, h5py.File(tmp_path / "chunked.h5", "w") as out:
        for name in file:
            if name != "data_10m":
                file.copy(name, out)
        out.create_dataset("data_10m", data=file["data_10m"][...], chunks=(1, 120, 120, 4), compression="gzip")
        out.attrs.update(file.attrs)
    chunked = read(tmp_path / "chunked.h5", "data_10m").reader
    for order in (np.array([3, 0, 0, 1]), np.arange(1, 4)):
        assert np.array_equal(*(reader.read("data_10m", order) for reader in (contiguous, chunked)))


def test_43_classes_are_read_as_19_and_rows_left_without_a_label_are_skipped_and_counted(tmp_path):
    path = tmp_path / "store.h5"
    training_store(path, [TRAIN] * 3)
    with h5py.File(path, "r+") as file:
        classes = np.zeros((3, 43), np.uint8)
        classes[0, 0], classes[1, 3], classes[2, [42, 40]] = 1, 1, 1  # class 3 is in none of the 19
        file["classes"][...] = classes
    rows = read(path, "data_10m", classes=19)
    assert (rows.store_rows.tolist(), rows.unlabelled, len(rows.classes)) == ([0, 2], 1, 19)
    assert [np.flatnonzero(row).tolist() for row in rows.labels] == [[0], [18]]
    assert len(read(path, "data_10m", classes=19, labelled_only=False)) == 3
    assert len(read(path, "data_10m")) == 3


def test_rows_have_what_the_store_says_of_archive_and_labels_and_several_labels_are_refused_where_it_says_one(tmp_path):
    path = tmp_path / "store.h5"
    training_store(path, [TRAIN] * 2 + [VAL])
    rows = read(path, "data_10m")
    assert (rows.archive, rows.single_label) == ("", False)
    with h5py.File(path, "r+") as file:
        file.attrs["labels"], file.attrs["archive"] = "single", "BigEarthNet v1"
        file["classes"][...] = np.eye(3, 43, dtype=np.uint8)
    rows = read(path, "data_10m")
    assert (rows.archive, rows.single_label) == ("BigEarthNet v1", True)
    with h5py.File(path, "r+") as file:
        file["classes"][1, 7] = 1
    assert read(path, "data_10m", split="val").single_label
    with pytest.raises(ValueError, match=r"labels = single, so no row may have several labels, but 1 of 2 rows have"):
        read(path, "data_10m")


def test_labels_that_are_all_zero_are_refused(tmp_path):
    training_store(tmp_path / "store.h5", [TRAIN] * 2)
    with h5py.File(tmp_path / "store.h5", "r+") as file:
        file["classes"][...] = 0
    with pytest.raises(ValueError, match="none of the 2 rows of split train has a label"):
        read(tmp_path / "store.h5", "data_10m")


def test_a_list_of_bands_is_read_from_the_group_that_has_them_all():
    assert band_selections("B08,B02") == (BandSelection("data_10m", ("B08", "B02")),)
    assert band_selections("B02,B8A") == (BandSelection("data_super", ("B02", "B8A")),)


@pytest.mark.parametrize("bands", ["ultraviolet", "B02,B10"])
def test_bands_that_sentinel_2_does_not_have_are_refused(store, bands):
    with pytest.raises(
        ValueError,
        match=r"--bands must be rgb, all, native, s1 or a list such as B02,B8A, with \+s1 or without, got '.* is of",
    ):
        select_rows(store, RowSelection(band_selections(bands)))


def test_mean_and_deviation_are_those_of_the_pixels_whatever_the_size_of_the_sums():
    values = np.random.default_rng(0).integers(1, 65535, (1000, 2)).astype(object)
    count = np.array([1000, 1000], object)
    mean, deviation = moments(count, values.sum(0), (values**2).sum(0))
    np.testing.assert_allclose(mean, values.astype(float).mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, values.astype(float).std(0), rtol=1e-6)
    words = np.array([[1, 5], [0, 7]], np.uint64)
    assert from_words(words).tolist() == [2**64 + 5, 7]
    assert moments(*np.zeros((3, 1), object))[1].tolist() == [1.0]
