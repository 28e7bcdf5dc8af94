"""Statistics: exact counts and percentiles, whatever does the work; what is drawn; what is bad input."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import ranks
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mpi4py import MPI
from PIL import Image
from stores import GOOD, erase_some, make_store

from etl.bands import GROUPS, SATURATED
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.labels import CLASSES_43
from etl.schema import SPLITS
from etl.stats.counts import ValueCounts, group_membership
from etl.stats.report import QUANTILES
from etl.stats.run import stats
from etl.stats.settings import StatsSettings
from etl.store.hdf5.create import overwrite_hdf5
from etl.store.location import Location
from etl.store.reader import StoreReader

# Most of these read whole stores, and again in each layout.
pytestmark = pytest.mark.slow

PIXELS = arrays(np.uint16, st.tuples(st.integers(1, 6), st.just(2), st.just(3), st.just(2)))


def drawn(store: Path, out: Path, **how: Any) -> dict[str, Any]:
    """The numbers that a run writes, without what differs from run to run."""
    assert stats(StatsSettings(Location.parse(store), out, **how), MPI.COMM_SELF) == 0
    return numbers(out)


def numbers(out: Path) -> dict[str, Any]:
    """The numbers beside a page, without what differs from run to run."""
    found = json.loads(out.with_suffix(".json").read_text())
    return {key: value for key, value in found.items() if key not in ("seconds", "workers", "scheduler", "store")}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store of six rows, the third of them rejected."""
    return make_store(tmp_path_factory.mktemp("good"), GOOD)


@given(PIXELS, st.integers(0, 2**32), st.integers(1, 6))
def test_every_pixel_counts_once_in_each_of_its_patches_groups(pixels, seed, batch):
    rng = np.random.default_rng(seed)
    member = group_membership(rng.integers(0, 4, len(pixels), np.uint8), rng.integers(0, 2, (len(pixels), 5), np.uint8))
    found = ValueCounts(9, 2)
    for first in range(0, len(pixels), batch):
        found.add(pixels[first : first + batch], member[first : first + batch])
    percentiles = found.quantiles(QUANTILES)
    for group in range(9):
        for band in range(2):
            values = pixels[member[:, group], ..., band].ravel()
            valid = values[(values != 0) & (values != SATURATED)]
            assert found.count[group, band] == len(valid)
            assert found.nodata[group, band] == (values == 0).sum()
            assert found.saturated[group, band] == (values == SATURATED).sum()
            empty = ~pixels[member[:, group], ..., band].any((1, 2))
            assert found.empty_patches[group, band] == empty.sum()
            assert found.sums(group, band) == (sum(map(int, valid)), sum(int(v) ** 2 for v in valid))
            if len(valid):
                assert np.array_equal(percentiles[group, band], np.quantile(valid, QUANTILES, method="inverted_cdf"))
            else:
                assert np.isnan(percentiles[group, band]).all()


@given(PIXELS, PIXELS)
def test_counts_of_two_parts_merge_to_the_counts_of_the_whole(one, other):
    whole, parts = ValueCounts(5, 2), [ValueCounts(5, 2), ValueCounts(5, 2)]
    member = group_membership(np.zeros(len(one) + len(other), np.uint8), np.ones((len(one) + len(other), 1), np.uint8))
    whole.add(np.concatenate([one, other]), member)
    parts[0].add(one, member[: len(one)])
    parts[1].add(other, member[len(one) :])
    merged = parts[0].merge(parts[1])
    width = min(whole.valid.shape[2], merged.valid.shape[2])
    assert np.array_equal(whole.valid[..., :width], merged.valid[..., :width])
    assert whole.valid.sum() == merged.valid.sum()
    assert np.array_equal(whole.saturated, merged.saturated)
    assert np.array_equal(whole.empty_patches, merged.empty_patches)


def test_the_numbers_are_those_of_the_stores_pixels_and_agree_with_its_exact_sums(good, tmp_path):
    found = drawn(good, tmp_path / "s.png", batch_rows=2)
    with StoreReader(good) as store:
        rows = store.written
        classes, split = store.columns["classes"][rows] > 0, store.columns["split"][rows]
        pixels = {item.name: store.read(item.name, rows) for item in store.schema.pixels}
    assert found["agrees_with_stored_sums"]
    for group in GROUPS:
        for b, band in enumerate(group.bands):
            told = found["bands"][band]
            assert told["split"].keys() == {"none", "train", "val"}
            assert told["class"].keys() == {CLASSES_43[c] for c in np.flatnonzero(classes.any(0))}
            for kind, name, mine in (
                ("split", "train", split == SPLITS.index("train")),
                ("class", CLASSES_43[4], classes[:, 4]),
            ):
                values = pixels[f"data_{group.name}"][mine, ..., b].ravel()
                valid = values[(values != 0) & (values != SATURATED)]
                assert told[kind][name]["valid_pixels"] == len(valid)
                assert told[kind][name]["saturated_pixels"] == (values == SATURATED).sum()
                assert told[kind][name]["p50"] == np.quantile(valid, 0.5, method="inverted_cdf")
                assert told[kind][name]["mean"] == pytest.approx(valid.mean())
                assert told[kind][name]["deviation"] == pytest.approx(valid.std())
            assert sum(found["histogram"]["counts"]["train"][band]) == told["split"]["train"]["valid_pixels"]
    assert found["patches"] == {"none": 1, "train": 2, "val": 2, "test": 0}
    assert np.array_equal(found["class_together_patches"], classes.T.astype(int) @ classes.astype(int))
    assert np.array_equal(np.sum(list(found["class_patches"].values()), 0), classes.sum(0))
    assert np.array_equal(np.sum(list(found["labels_per_patch"].values()), 0), np.bincount(classes.sum(1)))


@pytest.mark.parametrize(
    "how", [{"workers": 1}, {"workers": 9}, {"batch_rows": 1}, {"scheduler": "processes", "workers": 2}]
)
def test_the_numbers_do_not_depend_on_who_counts(good, tmp_path, how):
    assert drawn(good, tmp_path / "a.png", **how) == drawn(good, tmp_path / "b.png")


def test_the_numbers_do_not_depend_on_the_format(good, tmp_path):
    convert(ConvertSettings(Location.parse(good), Location.parse(tmp_path / "x.zarr")), MPI.COMM_SELF)
    assert drawn(tmp_path / "x.zarr", tmp_path / "a.png") == drawn(good, tmp_path / "b.png")


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_ranks_count_the_same_and_say_little(good, tmp_path, size):
    done = ranks(size, "etl.stats", str(good), "--out", str(tmp_path / "a.png"))
    assert done.returncode == 0, done.stderr
    assert "5 rows counted" in done.stdout
    assert f"by {size} workers" in done.stdout
    assert len(done.stderr.splitlines()) < 5, done.stderr
    assert numbers(tmp_path / "a.png") == drawn(good, tmp_path / "b.png")


@pytest.mark.slow
def test_a_cluster_counts_the_same(good, tmp_path):
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None, protocol="tcp"
    ) as some:
        found = drawn(good, tmp_path / "a.png", scheduler=some.scheduler_address)
    assert found == drawn(good, tmp_path / "b.png")


@pytest.mark.parametrize(
    ("states", "options"),
    [(GOOD, {}), ([1], {}), (GOOD, {"upsampled": False}), (GOOD, {"version": "1"})],
)
@pytest.mark.parametrize("suffix", [".png", ".html"])
def test_every_kind_of_store_gives_a_page(tmp_path, states, options, suffix):
    out = tmp_path / "pages" / f"p{suffix}"
    drawn(make_store(tmp_path, states, **options), out)
    if suffix == ".png":
        with Image.open(out) as image:
            assert image.width > 1000
    else:
        text = out.read_text()
        assert "data:image/png;base64," in text
        assert "<td>train</td>" in text
        assert ("<h2>Patches by share of pixels without data</h2>" in text) == ("version" not in options)
    assert {path.name for path in out.parent.iterdir()} == {"p.json", out.name}


def test_patches_without_data_are_counted_by_split_and_share_and_by_band(tmp_path, capsys):
    store = make_store(tmp_path, GOOD, erase=erase_some)
    found = drawn(store, tmp_path / "p.html")
    assert found["nodata_share_bins"] == ["none", "up to 1 %", "up to 10 %", "up to 50 %", "below 100 %", "all"]
    assert found["nodata_share_patches"] == {
        "none": [0, 1, 0, 0, 0, 0], "train": [1, 0, 0, 1, 0, 0], "val": [1, 0, 0, 0, 0, 1], "test": [0] * 6,
    }  # fmt: skip
    empty = {
        band: {name: by["empty_patches"] for name, by in told["split"].items()} for band, told in found["bands"].items()
    }
    assert empty["B05"] == {"none": 0, "train": 0, "val": 1}
    assert not any(any(by.values()) for band, by in empty.items() if band != "B05")
    assert capsys.readouterr().out.splitlines()[:2] == [
        "patches by their share of pixels without data: none: 2, up to 1 %: 1, up to 50 %: 1, all: 1",
        "patches without any data in a band: B05: 1",
    ]
    assert (
        "<td>train</td><td>1</td><td>0</td><td>0</td><td>1</td><td>0</td><td>0</td>"
        in (tmp_path / "p.html").read_text()
    )


def test_of_whole_patches_nothing_is_said_and_of_an_old_store_the_share_is_unknown(tmp_path, capsys):
    def fill(pixels):
        for array in pixels.values():
            array[array.any((1, 2, 3))] |= 1

    for version, share in (("2", [2, 0, 0, 0, 0, 0]), ("1", None)):
        (tmp_path / version).mkdir()
        store = make_store(tmp_path / version, [1, 1], version=version, erase=fill)
        found = drawn(store, tmp_path / "p.png")["nodata_share_patches"]
        assert (found and np.sum(list(found.values()), 0).tolist()) == share
        assert len(capsys.readouterr().out.splitlines()) == 1


def test_sums_that_are_not_those_of_the_pixels_end_with_status_1_and_the_page_is_there(tmp_path):
    store = make_store(tmp_path, GOOD)
    with StoreReader(store) as opened:
        words = opened.column("stats/data_20m/sum").copy()
    words[SPLITS.index("val"), 2, 1] += 1
    overwrite_hdf5(store, {"stats/data_20m/sum": words})
    with pytest.raises(JobError, match=r"data_20m B07 sum of split val: stored \d+, pixels give") as caught:
        stats(StatsSettings(Location.parse(store), tmp_path / "p.png"), MPI.COMM_SELF)
    assert caught.value.status == 1
    assert not numbers(tmp_path / "p.png")["agrees_with_stored_sums"]
    assert (tmp_path / "p.png").exists()


def test_of_an_incomplete_store_the_written_rows_are_counted_and_it_is_said(tmp_path, capsys):
    store = make_store(tmp_path, [1, 0], complete=False)
    assert stats(StatsSettings(Location.parse(store), tmp_path / "p.png"), MPI.COMM_SELF) == 0
    assert "is incomplete, 1 of 2 rows are not written" in capsys.readouterr().out
    assert not numbers(tmp_path / "p.png")["agrees_with_stored_sums"]


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2])
def test_what_is_no_store_is_bad_input_on_any_number_of_ranks(tmp_path, size):
    done = ranks(size, "etl.stats", str(tmp_path / "none.h5"), "--out", str(tmp_path / "p.png"))
    assert done.returncode == 2
    assert "none.h5" in done.stderr


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_bad_input_and_named(good, tmp_path, monkeypatch):
    monkeypatch.setattr("etl.stats.run._CONNECT_TIMEOUT_S", 1)
    with pytest.raises(JobError, match=r"--scheduler .*tcp://127\.0\.0\.1:9") as caught:
        stats(StatsSettings(Location.parse(good), tmp_path / "p.png", scheduler="tcp://127.0.0.1:9"), MPI.COMM_SELF)
    assert caught.value.status == 2


@pytest.mark.parametrize(
    "wrong", [{"out": Path("p.jpg")}, {"scheduler": "dask"}, {"workers": -1}, {"batch_rows": 0}, {"batch_rows": 20000}]
)
def test_settings_out_of_range_are_named_with_their_value(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} .*{value}"):
        StatsSettings(**wrong)
