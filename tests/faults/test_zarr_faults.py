"""Faults of Zarr stores in a folder: shards that are torn or gone, kills, retries, and what is no store of ours."""

import contextlib
import json
import os
import random
import shutil
import time

import numpy as np
import psutil
import pytest
import zarr
from commands import begin, content, extract, ranks_of, same
from disks import disk, resize

from etl.store.checksum import checksum
from etl.store.journal import Journal, journal_location
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.store.zarr.group import chunk_key
from etl.store.zarr.writer import overwrite_zarr

FLAGS = ("--shard-rows", "8")


@pytest.fixture(scope="module")
def whole(sample, tmp_path_factory):
    """A complete store; a test copies it."""
    out = tmp_path_factory.mktemp("whole") / "store.zarr"
    assert extract(2, sample, out, *FLAGS).returncode == 0
    return out


@pytest.fixture
def store(whole, tmp_path):
    """A store that a test may break: complete but for its last word."""
    out = tmp_path / "store.zarr"
    shutil.copytree(whole, out)
    shutil.copy(journal_location(Location.parse(whole)).path, tmp_path)
    overwrite_zarr(Location.parse(out), {"complete": np.zeros((), np.uint8)})
    return out


def cut(path, share=0.5):
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def flip(path):
    data = bytearray(path.read_bytes())
    data[1000] ^= 0xFF
    path.write_bytes(data)


def spoil_index(path):
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)


def test_shards_that_are_gone_torn_or_spoilt_are_found_and_made_again(sample, reference, store):
    for (name, shard), fault in {
        ("data_super", 3): cut,
        ("data_10m", 5): flip,
        ("data_60m", 9): spoil_index,
        ("data_20m", 12): os.remove,
    }.items():
        fault(store / chunk_key(name, (shard, 0, 0, 0)))
    done = extract(3, sample, store, "--resume")
    assert done.returncode == 0, done.stderr
    # a flipped byte spoils one row; the others of its shard are read back
    assert json.loads(store.with_name("store.json").read_text())["patches"] == 3 * 8 + 1
    assert same(content(store), content(reference))


def test_a_store_is_resumed_with_the_shards_it_was_made_with(sample, reference, store):
    (store / chunk_key("data_super", (0, 0, 0, 0))).unlink()
    assert extract(1, sample, store, "--resume", "--shard-rows", "50").returncode == 0
    assert same(content(store), content(reference))


def test_resuming_a_complete_store_does_nothing(sample, whole):
    done = extract(2, sample, whole, "--resume")
    assert done.returncode == 0
    assert "is complete" in done.stdout


def test_retrying_rejected_rows_makes_their_shards_again_and_keeps_the_others(sample, reference, tmp_path):
    out, cloud = tmp_path / "store.zarr", content(reference)["cloud_share"]
    tile = content(reference)["tile"][0].decode()
    image = next((sample / "tiles").glob(f"*_T{tile}_*/GRANULE/*/IMG_DATA/R10m/*_B02_10m.jp2"))
    shutil.copy(image, tmp_path / "aside")
    cut(image, 0.8)  # the first of four blocks is whole
    try:
        assert extract(2, sample, out, *FLAGS, "--no-check-files").returncode == 0
    finally:
        shutil.copy(tmp_path / "aside", image)
    state = StoreReader(out).column("state")
    assert 0 < (state == 2).sum() < len(state) == len(cloud)
    done = extract(3, sample, out, "--resume", "--retry-rejected")
    assert done.returncode == 0, done.stderr
    assert same(content(out), content(reference))


def finished(out):
    """How many rows the journal names; each must be there, with its checksum."""
    journal = Journal.read(journal_location(Location.parse(out)))
    rows = [row for first, stop in journal.ranges for row in range(first, stop)]
    found = StoreReader(out).read_columns(("state", "checksum", "complete"))
    assert (found["state"][rows] == 1).all()
    with StoreReader(out) as reader:
        assert all(checksum(reader.row(row)) == found["checksum"][row] for row in rows)
    assert not found["complete"] or len(rows) == len(found["state"])
    return len(rows)


def test_what_a_killed_run_left_half_written_does_not_get_into_the_store(sample, reference, store):
    """TensorStore writes into a lock file that is there without cutting it off."""
    for name in ("state", "snow_share", "checksum"):
        (store / f"{chunk_key(name, (0,))}.__lock").write_bytes(b"x" * 5000)
    shard = store / chunk_key("data_super", (0, 0, 0, 0))
    shard.with_name(shard.name + ".__lock").write_bytes(b"x" * (3 * shard.stat().st_size))
    shard.unlink()
    shard.with_name("c.99.0.0.0.part").write_bytes(b"x")
    done = extract(2, sample, store, "--resume", *FLAGS)
    assert done.returncode == 0, done.stderr
    assert same(content(store), content(reference))
    assert not [path for path in store.rglob("*") if path.suffix in {".__lock", ".part"}]


@pytest.mark.timeout(900)
def test_a_killed_run_opens_says_it_is_incomplete_and_resumes_to_the_same_content(sample, reference, tmp_path):
    rng, expected, landed, kept = random.Random(2019), content(reference), 0, 0
    for attempt in range(4):
        out = tmp_path / f"{attempt}.zarr"
        paths = ("--catalogue", str(sample / "patches.parquet"), "--source", str(sample / "tiles"), "--out", str(out))
        job = begin(rng.choice([1, 2, 3]), "etl.extract", *paths, *FLAGS, "--round-mib", "2", "--sync-s", "0.1")
        journal = journal_location(Location.parse(out)).path
        syncs, until = rng.choice([0, 2, 3, 5]), time.monotonic() + 60
        while job.poll() is None and time.monotonic() < until:
            if journal.exists() and journal.read_bytes().count(b"\n") >= syncs + 1:
                break
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
        landed += job.poll() is None
        found = ranks_of(job)
        for process in rng.choice([found, found[:1]]):
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end before all are killed
                process.kill()
        job.wait(timeout=60)
        assert not psutil.wait_procs(found, timeout=60)[1]
        kept += out.exists() and finished(out) > 0
        done = extract(rng.choice([1, 2, 3]), sample, out, "--resume", *FLAGS)
        assert done.returncode == 0, done.stderr
        assert same(content(out), expected), f"attempt {attempt}"
    assert landed >= 2
    assert kept >= 1


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("compress", ["none", "zstd"])
def test_a_disk_that_fills_up_ends_the_run_with_a_message_and_loses_nothing(
    sample, reference, tmp_path, size, compress
):
    with disk(tmp_path / "small", "16m") as small:
        out = small / "store.zarr"
        done = extract(size, sample, out, *FLAGS, "--compress", compress, "--round-mib", "4", "--sync-s", "0.2")
        assert done.returncode == 1, done.stderr
        assert "No space left on device" in done.stderr
        assert str(out) in done.stderr
        assert "Traceback" not in done.stderr
        resize(small, "2g")
        assert finished(out) < len(content(reference)["state"])
        done = extract(size, sample, out, "--resume", *FLAGS)
        assert done.returncode == 0, done.stderr
        assert same(content(out), content(reference))


def test_a_name_clash_is_refused_with_status_2(sample, whole):
    done = extract(2, sample, whole)
    assert done.returncode == 2
    assert "exists; name another --out, or complete it with --resume" in done.stderr


def test_a_version_2_store_and_a_store_of_others_are_refused_with_status_2(sample, tmp_path):
    zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    zarr.create_group(tmp_path / "other.zarr", zarr_format=3)
    for name, words in (("old", "must be a Zarr store of version 3"), ("other", "must be a store of etl.extract")):
        out = tmp_path / f"{name}.zarr"
        assert "exists; name another" in extract(1, sample, out).stderr
        journal = {"begun_with": {}}
        done = extract(1, sample, out, "--resume")
        assert done.returncode == 2
        assert "is missing, and --resume needs it" in done.stderr
        journal_location(Location.parse(out)).path.write_text(json.dumps(journal) + "\n")
        done = extract(1, sample, out, "--resume")
        assert done.returncode == 2
        assert (
            words in done.stderr
            or "--resume needs the catalogue, source and settings of the first run; of " in done.stderr
        )
