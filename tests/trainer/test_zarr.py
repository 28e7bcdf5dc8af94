"""Training on a Zarr store: the rows, the order and the weights of the HDF5 store, and what is refused."""

import resource
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import zarr
from stores import TRAIN, VAL, as_zarr, training_store
from training_setups import ALONE, make_setup, small_network

from etl.schema import REJECTED, WRITTEN
from etl.store import byte_ranges
from etl.store.errors import DamagedStoreError
from etl.store.reader import StoreReader
from etl.store.sync import sync_and_drop_cache
from etl.store.zarr import sharding
from etl.store.zarr.group import chunk_key
from trainer.config import BandSelection
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, select_rows
from trainer.data.stream import BatchStream
from trainer.fit.checkpoint import TrainingState
from trainer.fit.loop import fit

WANTED = RowSelection((BandSelection("data_20m", ("B05", "B8A")), BandSelection("data_60m")))


@pytest.fixture
def both(tmp_path):
    """A store in both formats, HDF5 first."""
    split, state = [TRAIN, VAL, TRAIN, TRAIN, TRAIN, TRAIN, TRAIN, VAL, TRAIN], [WRITTEN] * 9
    state[3] = REJECTED
    training_store(tmp_path / "store.h5", split, state)
    return tmp_path / "store.h5", as_zarr(tmp_path / "store.h5", tmp_path / "store.zarr")


def test_rows_labels_and_moments_are_those_of_the_hdf5_store(both):
    one, other = (select_rows(path, WANTED) for path in both)
    assert (len(one), one.classes, one.upsample) == (len(other), other.classes, other.upsample)
    assert np.array_equal(one.store_rows, other.store_rows)
    assert np.array_equal(one.labels, other.labels)
    for a, b in zip(one.pixels, other.pixels, strict=True):
        assert (a.name, a.row_shape, a.channels, a.bands) == (b.name, b.row_shape, b.channels, b.bands)
        assert np.array_equal(a.mean, b.mean)
        assert np.array_equal(a.std, b.std)


@pytest.mark.parametrize(
    "layout", [{"compress": "none", "shard_rows": 2}, {"compress": "none", "chunk_rows": 2}, {"chunk_rows": 2}]
)
def test_the_stream_gives_the_same_batches_in_the_same_order(both, tmp_path, layout):
    place = as_zarr(both[0], tmp_path / "other.zarr", **layout)
    batches = []
    for shard in place.rglob("data_*/c.*"):
        sync_and_drop_cache(shard)
    for path in (both[0], place):
        rows = select_rows(path, WANTED)
        sampler = DistributedSampler(len(rows), 2, 1, seed=3)
        batches.append(list(BatchStream(rows, 2, lambda step, sampler=sampler: sampler.rank_batch(step, 0))(range(5))))
    for one, other in zip(*batches, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(tf.nest.flatten(one), tf.nest.flatten(other), strict=True))


def test_either_store_gives_the_same_weights(both):
    tf.config.experimental.enable_op_determinism()
    weights = []
    for path in both:
        rows = select_rows(path, RowSelection((BandSelection("data_60m"),)))
        model = small_network(rows)
        fit(make_setup(rows, model, 6), TrainingState(), ALONE, lambda epoch: None, lambda names: None)
        weights.append(model.get_weights())
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("layout", [{"compress": "none"}, {}])
@pytest.mark.parametrize("cut", [slice(0, -9), slice(0, 3)])
def test_a_torn_shard_is_an_error_that_names_it(both, tmp_path, layout, cut):
    place = as_zarr(both[0], tmp_path / "store.torn.zarr", **layout)
    shard = place / chunk_key("data_60m", (0, 0, 0, 0))
    shard.write_bytes(shard.read_bytes()[cut])
    with pytest.raises(DamagedStoreError, match=r"store\.torn\.zarr.*data_60m/c\.0\.0\.0\.0"):
        StoreReader(place).read("data_60m", np.array([1]))


def test_a_shard_of_rejected_rows_alone_is_read_as_zeros(both, tmp_path):
    place = as_zarr(both[0], tmp_path / "other.zarr", compress="none", shard_rows=1)
    (place / chunk_key("data_60m", (3, 0, 0, 0))).unlink()
    store = StoreReader(place)
    out = np.ones((2, *store.shape("data_60m")[1:]), np.uint16)
    store.read_rows("data_60m", np.array([3, 4]), out)
    assert not out[0].any()
    assert out[1].any()


def test_a_shard_that_another_thread_closes_meanwhile_is_still_read(both, tmp_path, monkeypatch):
    place = as_zarr(both[0], tmp_path / "other.zarr", compress="none", shard_rows=2)
    one, other = StoreReader(both[0]), StoreReader(place)
    opened = other._reader._shard_files("data_60m")._open_shard
    monkeypatch.setattr(sharding, "in_page_cache", lambda ranges: False)

    def prefetch_ranges(ranges):
        opened.cache_clear()  # as it does where there are more shards than it keeps open
        byte_ranges.prefetch_ranges(ranges)

    monkeypatch.setattr(sharding, "prefetch_ranges", prefetch_ranges)
    rows = np.array([7, 0, 4, 1])
    found = [store.read("data_60m", rows) for store in (one, other)]
    assert opened.cache_info().currsize == 0
    assert np.array_equal(*found)


def test_a_batch_of_more_shards_than_files_may_be_open_is_read(tmp_path, monkeypatch):
    count = 40
    arrays = training_store(tmp_path / "store.h5", [TRAIN] * count)
    place = as_zarr(tmp_path / "store.h5", tmp_path / "store.zarr", compress="none", shard_rows=1)
    monkeypatch.setattr(sharding, "_GROUP_ROWS", 8)
    monkeypatch.setattr(sharding, "_OPEN_SHARDS", 4)
    store = StoreReader(place)
    store.read("data_60m", np.arange(1))
    used = {int(path.name) for path in Path("/proc/self/fd").iterdir()}
    free = [number for number in range(len(used) + 20) if number not in used]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free[19] + 1, hard))
    try:
        out = store.read("data_60m", np.arange(count))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert np.array_equal(out, arrays["data_60m"])


def test_of_uncompressed_chunks_only_the_rows_asked_for_are_announced(both, tmp_path, monkeypatch):
    place = as_zarr(both[0], tmp_path / "other.zarr", compress="none", chunk_rows=4)
    rows, told = select_rows(place, WANTED), []
    monkeypatch.setattr(sharding, "in_page_cache", lambda ranges: False)
    monkeypatch.setattr(sharding, "prefetch_ranges", told.extend)
    read = rows.reader.read("data_60m", np.array([6, 1]))
    assert [length for _, _, length in told] == [read[0].nbytes] * 2


def test_shards_of_another_writer_are_read_by_what_their_metadata_say(both, tmp_path):
    """zarr-python lays the chunks of a shard out in an order of its own."""
    place = as_zarr(both[0], tmp_path / "other.zarr", compress="none", shard_rows=4)
    group = zarr.open_group(place, mode="r+")
    group["data_60m"][...] = group["data_60m"][...][::-1]
    one, other = (StoreReader(path).read("data_60m", np.arange(9)) for path in (both[0], place))
    assert np.array_equal(one, other[::-1])


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be a Zarr store of etl\.extract; it has no zarr\.json"):
        select_rows(tmp_path / "none.zarr", WANTED)
    (tmp_path / "old.zarr").mkdir()
    (tmp_path / "old.zarr" / ".zgroup").write_text('{"zarr_format": 2}')
    with pytest.raises(ValueError, match=r"must be a Zarr store of version 3.*it is of version 2"):
        select_rows(tmp_path / "old.zarr", WANTED)
