"""Stores of image files describe themselves: schema, statistics and the trainer's input follow from attributes."""

import numpy as np
import pytest

from etl.mpi import comm_self, file_hints
from etl.pixel_groups import IMAGES, PixelGroup
from etl.schema import SCHEMA_VERSION, SPLITS, WRITTEN, Schema, schema_of
from etl.store.backend import backend_of
from etl.store.layout import Layout
from etl.store.reader import StoreReader
from etl.store.statistics import Sums, plane_sums, row_sums, statistics_arrays
from trainer.config import band_selections
from trainer.data.selection import RowSelection, select_rows
from trainer.data.stream import BufferPool

CLASSES = ("crop; winter", "wood")
ROWS = 5


def make(path, group):
    """A complete store of random image patches, and its pixels."""
    schema = Schema(ROWS, CLASSES, upsampled=False, images=group)
    most = np.iinfo(group.dtype).max
    pixels = np.random.default_rng(1).integers(0, most, schema.pixels[0].shape, group.dtype, endpoint=True)
    columns = {"state": np.full(ROWS, WRITTEN, np.uint8), "classes": np.ones((ROWS, 2), np.uint8)}
    columns["split"] = np.full(ROWS, SPLITS.index("train"), np.uint8)
    store, sums = backend_of(path, Layout(4096, shard_rows=2)), Sums(schema.pixels)
    store.create(schema, {**{i.name: np.zeros(i.shape, i.dtype) for i in schema.identity}, **columns},
                 {"schema_version": SCHEMA_VERSION})  # fmt: skip
    with store.writer(comm_self(), file_hints()) as writer:
        writer.write(IMAGES, 0, pixels)
        writer.wait()
        writer.sync()
    for row in pixels:
        sums.add(1, IMAGES, row_sums(row, group.nodata, None))
    store.overwrite({**statistics_arrays(sums.totals), "complete": np.ones((), np.uint8)})
    return schema, pixels


GROUPS = [
    PixelGroup.of_images((7, 9), ("B01",), "uint16", None),
    PixelGroup.of_images((32, 32), ("B04", "B03", "B02", "extra band"), "uint16", 0),
    PixelGroup.of_images((16, 16), ("R", "G", "B"), "uint8", 255),
]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.dtype)
@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_the_schema_of_a_store_is_read_back_from_it(tmp_path, group, suffix):
    schema, pixels = make(tmp_path / f"s{suffix}", group)
    with StoreReader(tmp_path / f"s{suffix}") as store:
        assert store.schema == schema
        assert store.text("class") == CLASSES
        assert store.text("band_images") == group.bands
        rows = np.array([4, 0, 3])
        assert np.array_equal(store.read(IMAGES, rows), pixels[rows])


def test_classes_have_names_in_an_attribute_or_beside_them_or_are_43_or_19(tmp_path):
    make(tmp_path / "s.h5", GROUPS[0])
    with StoreReader(tmp_path / "s.h5") as store:
        arrays = store._reader.arrays
        arrays["classes"].attrs.clear()
        assert store.schema.class_names == CLASSES  # the values of `class`
        with pytest.raises(ValueError, match="must name its 2 classes in the attribute class_names"):
            schema_of(arrays, "s.h5")


@pytest.mark.parametrize(("nodata", "saturated"), [(None, None), (0, None), (255, None), (7, 255)])
def test_statistics_leave_out_only_the_values_that_are_stated(nodata, saturated):
    planes = np.random.default_rng(0).integers(0, 256, (2, 30, 40)).astype(np.uint8)
    for band, sums in zip(planes, plane_sums(planes, nodata, saturated).T, strict=True):
        valid = band[~np.isin(band, [v for v in (nodata, saturated) if v is not None])].astype(object)
        counted = [0 if value is None else int((band == value).sum()) for value in (nodata, saturated)]
        assert sums.tolist() == [valid.size, valid.sum(), (valid**2).sum(), *counted]


def test_sums_of_squares_of_a_large_patch_are_exact():
    planes = np.full((1, 2100, 1700), 65533, np.uint16)
    assert plane_sums(planes)[:3, 0].tolist() == [2100 * 1700, 2100 * 1700 * 65533, 2100 * 1700 * 65533**2]


@pytest.mark.parametrize(("bands", "channels"), [("all", (0, 1, 2, 3)), ("rgb", (0, 1, 2)), ("native", (0, 1, 2, 3)),
                                                 ("extra band,B04", (3, 0))])  # fmt: skip
def test_the_trainer_takes_bands_type_and_nodata_from_the_store(tmp_path, bands, channels):
    make(tmp_path / "s.zarr", GROUPS[1])
    (item,) = select_rows(tmp_path / "s.zarr", RowSelection(band_selections(bands))).pixels
    assert (item.name, item.channels, item.dtype, item.nodata) == (IMAGES, channels, "uint16", 0)


def test_the_trainer_names_the_bands_of_image_files_if_one_is_unknown(tmp_path):
    make(tmp_path / "s.h5", GROUPS[2])
    with pytest.raises(ValueError, match="data_images has no band B08; it has R, G, B"):
        select_rows(tmp_path / "s.h5", RowSelection(band_selections("B08")))
    (item,) = select_rows(tmp_path / "s.h5", RowSelection(band_selections("rgb"))).pixels
    assert (item.channels, item.dtype, item.nodata, item.row_bytes) == ((0, 1, 2), "uint8", 255, 16 * 16 * 3)


def test_a_buffer_of_uint8_is_aligned_and_used_again():
    pool = BufferPool((2, 3), dtype="uint8")
    first = pool.take()
    assert (first.dtype, first.shape, first.ctypes.data % 64) == (np.uint8, (2, 3), 0)
    del first
    assert pool.take() is not None
    assert pool.made == 1
