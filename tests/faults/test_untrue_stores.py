"""A store that says complete and is not, or whose arrays do not fit together, is refused by all who read it."""

import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import ranks
from mpi4py import MPI
from store_readers import READERS, refused_by
from stores import GOOD, as_zarr, make_store, set_scalar

import etl
from etl.exit_status import JobError
from etl.preview.run import preview
from etl.preview.settings import PreviewSettings
from etl.stats.run import stats
from etl.stats.settings import StatsSettings
from etl.store.backend import backend_of
from etl.store.errors import DamagedStoreError
from etl.store.hdf5.create import overwrite_hdf5
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.zarr.writer import overwrite_zarr
from trainer.config import BandSelection
from trainer.data.selection import RowSelection, select_rows

OTHERS = [name for name in READERS if name not in ("verify", "resume")]
"""Readers other than the two that describe or repair such a store."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good store as HDF5 and as Zarr."""
    folder = tmp_path_factory.mktemp("good")
    as_zarr(make_store(folder, GOOD, upsampled=False), folder / "store.zarr")
    return folder


@pytest.fixture(params=["store.h5", "store.zarr"])
def store(good: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of it in one format."""
    copy = shutil.copytree if request.param.endswith(".zarr") else shutil.copy
    return Path(copy(good / request.param, tmp_path / request.param))


def overwrite(store: Path, **arrays: Any) -> None:
    """Replace arrays of a store, as damage, or a forger, would."""
    if store.suffix == ".zarr":
        overwrite_zarr(Location.parse(store), arrays)
    else:
        overwrite_hdf5(store, arrays)


def column(store: Path, name: str) -> np.ndarray:
    """A copy of a column."""
    with StoreReader(store, check=False) as opened:
        return opened.column(name).copy()


def refuse(store: Path, folder: Path, words: str) -> None:
    """Check that all refuse it as bad input, and that verify and resume still open it."""
    for name in OTHERS:
        said, status = refused_by(name, store, folder)
        assert (status, words in said) == (2, True), f"{name}: {said}"
    assert "verify says what is wrong" in refused_by("verify", store, folder)[0]
    with backend_of(store).reader() as opened:
        assert "state" in opened


def test_a_store_that_says_complete_and_has_rows_not_written_is_refused(store, tmp_path):
    state = column(store, "state")
    state[[0, 4]] = 0
    overwrite(store, state=state)
    refuse(store, tmp_path, "it says that it is complete, but 2 of 6 rows are not written")


def test_a_store_that_says_complete_and_has_no_statistics_is_refused(store, tmp_path):
    zeros = np.zeros((4, 4, 2), np.uint64)
    overwrite(store, **{f"stats/data_10m/{name}": zeros for name in ("count", "sum", "sum_squares")})
    refuse(store, tmp_path, "stats/data_10m must count every pixel of the 5 written rows")


@pytest.mark.parametrize("array", ["data_10m", "data_60m"])
def test_a_shard_that_is_lost_is_not_trained_on_as_zeros(good, tmp_path, array):
    store = tmp_path / "store.zarr"
    shutil.copytree(good / "store.zarr", store)
    shards = sorted((store / array).glob("c.*"))
    assert len(shards) > 1
    shards[-1].unlink()
    selection = RowSelection((BandSelection(array),), "all", labelled_only=False)
    with pytest.raises(DamagedStoreError, match=re.escape(f"{shards[-1]}, which holds row")):
        select_rows(store, selection)
    for shard in shards[:-1]:
        shard.unlink()
    with pytest.raises(DamagedStoreError, match=f"is missing, and maybe {len(shards) - 1} more"):
        select_rows(store, selection)


def test_a_shard_that_was_never_written_because_it_is_0_is_read(tmp_path):
    """TensorStore leaves such a shard out."""
    h5 = make_store(tmp_path, GOOD, upsampled=False, erase=lambda pixels: pixels["data_60m"].fill(0))
    store = as_zarr(h5, tmp_path / "store.zarr")
    for shard in (store / "data_60m").glob("c.*"):
        shard.unlink()
    found = select_rows(store, RowSelection((BandSelection("data_60m"),), "all", labelled_only=False))
    assert not found.reader.read("data_60m", found.store_rows).any()


@pytest.mark.parametrize("name", ["nodata", "saturated", "count"])
def test_statistics_of_fewer_rows_than_are_written_are_refused(store, tmp_path, name):
    words = column(store, f"stats/data_20m/{name}")
    words[1, 2, 1] += 1
    overwrite(store, **{f"stats/data_20m/{name}": words})
    refuse(store, tmp_path, "stats/data_20m must count every pixel")


@pytest.mark.parametrize(("name", "value"), [("sum", 2**63), ("sum_squares", 0)])
def test_sums_that_no_pixels_have_are_refused(store, tmp_path, name, value):
    words = column(store, f"stats/data_20m/{name}")
    words[1, 2, 1] = value
    overwrite(store, **{f"stats/data_20m/{name}": words})
    refuse(store, tmp_path, "stats/data_20m holds sums that no pixels have")


@pytest.mark.parametrize(("name", "value"), [("state", 3), ("split", 4)])
def test_values_that_mean_nothing_are_refused(store, tmp_path, name, value):
    values = column(store, name)
    values[5] = value
    overwrite(store, **{name: values})
    refuse(store, tmp_path, f"{name} must be at most {value - 1}, got {value}")


LONGER = {"split": "u1", "checksum": "<u8", "ulx": "<f8", "patch": "S64"}


@pytest.mark.parametrize("name", LONGER)
@pytest.mark.parametrize("rows", [5, 7])
def test_a_column_of_another_length_is_refused_whether_complete_or_not(good, tmp_path, name, rows):
    store = Path(shutil.copy(good / "store.h5", tmp_path))
    with h5py.File(store, "r+") as file:
        del file[name]
        file[name] = np.zeros(rows, LONGER[name])
    for complete in (1, 0):
        set_scalar(store, "complete", complete)
        assert "along patch, as" in refused_by("reader", store, tmp_path)[0]
        assert refused_by("train", store, tmp_path)[1] == 2


WRONG = {
    "state": np.zeros((6, 1), np.uint8), "complete": np.ones(1, np.uint8), "classes": np.zeros(6, np.uint8),
    "split": np.zeros(6, np.float64), "checksum": np.zeros(6, np.int64), "patch": np.zeros(6, np.int64),
    "data_10m": np.zeros((6, 120, 480), np.uint16), "data_60m": np.zeros((6, 20, 20, 2), np.float32),
    "band_60m": np.zeros((2, 1), "S3"), "class": np.zeros(43, np.uint8), "tile": np.zeros((), "S5"),
    "stats/data_10m/count": np.zeros((4, 4), np.uint64), "stats/data_60m/sum": np.zeros((4, 2, 2), np.float64),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_an_array_of_another_rank_or_type_is_refused(good, tmp_path, name):
    store = Path(shutil.copy(good / "store.h5", tmp_path))
    with h5py.File(store, "r+") as file:
        del file[name]
        file[name] = WRONG[name]
    for reader in OTHERS:
        said, status = refused_by(reader, store, tmp_path)
        assert (status, f"{name} must have" in said) == (2, True), f"{reader}: {said}"
    assert refused_by("verify", store, tmp_path)[1] == 2


@pytest.mark.parametrize("name", ["state", "patch", "tile", "classes", "complete", "band_10m", "stats/data_10m/count"])
def test_a_store_that_lacks_an_array_ends_nothing_with_a_traceback(good, tmp_path, name):
    store = Path(shutil.copy(good / "store.h5", tmp_path))
    with h5py.File(store, "r+") as file:
        del file[name]
    for reader in READERS:
        said, status = refused_by(reader, store, tmp_path)
        assert status in (0, 2), f"{reader}: {said}"
        assert not status or said, reader


@pytest.fixture
def incomplete(tmp_path: Path) -> Path:
    """An incomplete store: 2 of 4 rows written."""
    return make_store(tmp_path, [1, 0, 1, 0], complete=False)


def test_an_incomplete_store_is_opened_drawn_and_counted_with_a_word(incomplete, tmp_path, capsys, caplog):
    assert etl.open_store(incomplete).sizes["patch"] == 2
    assert "is incomplete" in caplog.text
    assert preview(PreviewSettings(Location.parse(incomplete), tmp_path / "p.png"), MPI.COMM_SELF) == 0
    assert "is incomplete, 2 of 4 rows are not written; python -m etl.extract --resume" in capsys.readouterr().out
    assert stats(StatsSettings(Location.parse(incomplete), tmp_path / "s.html"), MPI.COMM_SELF) == 0
    out = capsys.readouterr().out
    assert "is incomplete, 2 of 4 rows are not written" in out
    assert "2 rows counted" in out


def test_an_incomplete_store_is_refused_by_training_and_conversion(incomplete, tmp_path):
    with pytest.raises(ValueError, match=r"incomplete, 2 of 4 rows are not written: .*--resume"):
        select_rows(incomplete, RowSelection((BandSelection("data_10m"),)))
    with pytest.raises(JobError, match="must be complete"):
        READERS["convert"](incomplete, tmp_path)


@pytest.mark.slow
def test_a_forged_store_ends_commands_with_status_2_and_no_traceback(good, tmp_path):
    store = Path(shutil.copy(good / "store.h5", tmp_path))
    overwrite_hdf5(store, {"state": np.array([1, 0, 2, 1, 1, 1], np.uint8)})
    for command in (
        ("etl.stats", str(store), "--out", str(tmp_path / "s.html")),
        ("etl.convert", str(store), "--out", str(tmp_path / "c.h5")),
        ("trainer.run", "--store", str(store), "--out", str(tmp_path / "run")),
    ):
        done = ranks(1, *command)
        assert done.returncode == 2, done.stderr
        assert "it says that it is complete, but 1 of 6 rows are not written" in done.stderr
        assert "Traceback" not in done.stderr
