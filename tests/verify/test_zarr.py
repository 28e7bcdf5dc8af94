"""`etl.verify` on Zarr stores: what it passes, what it finds, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from commands import ranks
from stores import GOOD, as_zarr, make_store

from etl.store.journal import journal_location
from etl.store.location import Location
from etl.store.zarr.group import chunk_key
from etl.store.zarr.writer import overwrite_zarr


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    """A folder with a good Zarr store and what lies beside it."""
    home = tmp_path_factory.mktemp("good")
    plain = make_store(home, GOOD)
    store = as_zarr(plain, home / "store.zarr", shard_rows=2)
    shutil.copy(*(journal_location(Location.parse(path)).path for path in (plain, store)))
    return home


@pytest.fixture
def store(good, tmp_path) -> Path:
    """A copy that a test may break."""
    shutil.copytree(good, tmp_path / "copy")
    return tmp_path / "copy" / "store.zarr"


def verify(store, size=1):
    done = ranks(size, "etl.verify", str(store), "--catalogue", str(store.parent / "patches.parquet"))
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("size", [1, 3])
def test_a_good_store_passes_every_check(good, size):
    status, out, _ = verify(good / "store.zarr", size)
    assert status == 0, out
    assert "ok       opens          Zarr version 3" in out
    assert "is good: " in out
    assert "FAILED" not in out


def test_a_torn_shard_and_one_that_is_gone_are_found(store):
    torn = store / chunk_key("data_10m", (0, 0, 0, 0))
    torn.write_bytes(torn.read_bytes()[:-9])
    (store / chunk_key("data_60m", (2, 0, 0, 0))).unlink()
    status, out, _ = verify(store)
    assert status == 1
    assert "FAILED   checksums      4 wrong: row 0" in out
    assert "the shard is damaged" in out


def test_an_incomplete_store_is_said_to_be_incomplete(store):
    overwrite_zarr(Location.parse(store), {"complete": np.zeros((), np.uint8)})
    status, out, _ = verify(store)
    assert status == 1
    assert "store.zarr is INCOMPLETE; what is there is good" in out


def test_an_array_without_its_dimension_name_is_found(store):
    root = json.loads((store / "zarr.json").read_text())
    root["consolidated_metadata"]["metadata"]["ulx"]["dimension_names"] = ["row"]
    (store / "zarr.json").write_text(json.dumps(root))
    status, out, _ = verify(store)
    assert status == 1
    assert "ulx must have the scale patch on axis 0, got row" in out


def test_what_is_no_zarr_store_of_ours_is_refused_with_status_2(tmp_path):
    zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    zarr.consolidate_metadata(zarr.create_group(tmp_path / "other.zarr", zarr_format=3).store)
    for name, words in (
        ("old", "must be a Zarr store of version 3, as etl.extract makes it; it is of version 2"),
        ("other", "is Zarr but holds nothing"),
        ("none", "must be a Zarr store of etl.extract; it has no zarr.json"),
    ):
        status, _, err = verify(tmp_path / f"{name}.zarr")
        assert status == 2
        assert words in err
