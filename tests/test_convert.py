"""Conversion: equal arrays in every format and layout, exact sums of a part, nothing half done under a store's name."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from commands import begin, content, ranks, same, zarr_content
from mpi4py import MPI
from stores import GOOD, make_store, stats_of

import etl
from etl.convert.run import convert, draft_of
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.labels import CLASSES_43
from etl.store.journal import row_ranges
from etl.store.location import Location
from etl.store.reader import StoreReader

# Most of these read whole stores, and again in each layout.
pytestmark = pytest.mark.slow

PIXELS = ("data_10m", "data_20m", "data_60m", "data_super")
LAYOUTS = [
    ("x.h5", {}),
    ("x.h5", {"compress": "gzip", "chunk_rows": 4, "shard_rows": 4}),
    ("x.h5", {"compress": "zstd"}),
    ("x.h5", {"compress": "blosc", "level": 5}),
    ("x.zarr", {}),
    ("x.zarr", {"compress": "none", "shard_rows": 4, "chunk_rows": 2}),
    ("x.zarr", {"shard_rows": 2}),
    ("x.zarr", {"shard_rows": 0, "chunk_rows": 4}),
]


def run(store: Path, out: Path, **settings: Any) -> Path:
    """The store made of another."""
    assert convert(ConvertSettings(Location.parse(store), Location.parse(out), **settings), MPI.COMM_SELF) == 0
    return out


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a store in either format."""
    if path.suffix == ".h5":
        import hdf5plugin  # noqa: F401

        return content(path)
    return zarr_content(zarr.open_group(path, mode="r"))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store of six rows, the third of them rejected."""
    return make_store(tmp_path_factory.mktemp("good"), GOOD)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_every_format_and_layout_holds_the_same_arrays_there_and_back(good, tmp_path, name, layout):
    there = run(good, tmp_path / name, keep_rejected=True, **layout)
    assert same(arrays(there), content(good))
    back = run(there, tmp_path / "back.h5", keep_rejected=True)
    assert same(content(back), content(good))
    with h5py.File(good) as one, h5py.File(back) as other:
        assert {key: one.attrs[key] for key in one.attrs} == {
            key: other.attrs[key] for key in other.attrs if key != "converted"
        }
        for item in PIXELS:
            assert dict(one[item].attrs).keys() == dict(other[item].attrs).keys()


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_a_dataset_of_every_layout_is_the_same(good, tmp_path, name, layout):
    one, other = etl.open_store(good), etl.open_store(run(good, tmp_path / name, **layout))
    assert other["row"].values.tolist() == list(range(5))  # the rejected row is dropped
    one = one.drop_vars("row")
    other = other.drop_vars("row")
    one.attrs = other.attrs = {}
    assert other.identical(one)
    assert all(other[item].chunks is not None for item in PIXELS)


def test_pixels_are_cut_and_compressed_as_asked_for(good, tmp_path):
    made = run(good, tmp_path / "x.zarr", shard_rows=4, chunk_rows=2)
    array = zarr.open_group(made, mode="r")["data_10m"]
    assert (array.shards[0], array.chunks[0]) == (4, 2)
    assert "zstd" in str(array.compressors)
    assert "bitshuffle" in str(array.compressors)
    assert array.metadata.dimension_names == ("patch", "y_10m", "x_10m", "band_10m")
    with h5py.File(run(good, tmp_path / "x.h5", compress="gzip", level=3, chunk_rows=2)) as file:
        assert file["data_20m"].chunks == (2, 60, 60, 6)
        assert (file["data_20m"].compression, file["data_20m"].compression_opts) == ("gzip", 3)


@pytest.mark.parametrize("name", ["x.h5", "x.zarr"])
@pytest.mark.parametrize(
    ("part", "rows"),
    [
        ({"split": "train"}, [0, 4]),
        ({"split": "val,none"}, [1, 3, 5]),
        ({"tile": "33UUP"}, [0, 1, 3, 4, 5]),
        ({"tile": "33UUP", "keep_rejected": True, "split": "train,test"}, [0, 2, 4]),
        ({"label": f"{CLASSES_43[3]}; {CLASSES_43[1]}"}, [0, 1, 3]),
    ],
)
def test_a_part_of_a_store_has_those_rows_and_their_exact_sums(good, tmp_path, name, part, rows):
    found, whole = arrays(run(good, tmp_path / name, **part)), content(good)
    over_rows = [item for item in whole if len(whole[item].shape) and len(whole[item]) == len(GOOD)]
    for item in over_rows:
        if item not in ("class",) and not item.startswith("band_20m"):
            assert found[item].tobytes() == whole[item][rows].tobytes(), item
    with StoreReader(good) as store:
        schema = store.schema
    pixels = {item: whole[item][rows] for item in PIXELS}
    for item, words in stats_of(schema, pixels, whole["split"][rows], whole["state"][rows]).items():
        assert np.array_equal(found[item], words)
    assert int(found["complete"]) == 1


def test_a_part_no_longer_names_the_catalogue_of_the_whole_and_says_what_it_is(good, tmp_path):
    made = run(good, tmp_path / "x.h5", split="train")
    with h5py.File(made) as file:
        assert "catalogue" not in file.attrs["settings"]
        assert '"rows": "2 of 6"' in file.attrs["converted"]
    done = ranks(1, "etl.verify", str(made))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("layout", [{"compress": "blosc"}, {}])
def test_a_converted_store_is_good_to_verify(good, tmp_path, layout):
    done = ranks(1, "etl.verify", str(run(good, tmp_path / "x.h5", keep_rejected=True, **layout)))
    assert done.returncode == 0, done.stdout


def test_a_row_that_is_not_what_was_written_ends_the_conversion_and_leaves_nothing(tmp_path):
    store = make_store(tmp_path, GOOD)
    with h5py.File(store) as file:
        place = file["data_20m"].id.get_offset() + 4 * 60 * 60 * 6 * 2
    with store.open("r+b") as raw:
        raw.seek(place)
        raw.write(b"\xff\xfe")
    for name in ("x.h5", "x.zarr"):
        with pytest.raises(JobError, match=r"row 4 S2A_.*must give the stored checksum.*etl\.verify") as caught:
            run(store, tmp_path / name)
        assert caught.value.status == 1
        assert not (tmp_path / name).exists()
        assert not draft_of(Location.parse(tmp_path / name)).path.exists()


@pytest.mark.parametrize("name", ["x.h5", "x.zarr"])
def test_a_torn_shard_or_a_truncated_file_is_an_error_that_names_it(good, tmp_path, name):
    store = run(good, tmp_path / name, compress="none")
    if name == "x.h5":
        os.truncate(store, store.stat().st_size - 100)
    else:
        shard = next((store / "data_super" / "c").rglob("*")) if (store / "data_super" / "c").exists() else None
        shard = shard or next(p for p in (store / "data_super").iterdir() if p.name != "zarr.json")
        os.truncate(shard, shard.stat().st_size - 100)
    with pytest.raises(JobError, match=r"data_super|cannot be opened"):
        run(store, tmp_path / "y.h5")
    assert not (tmp_path / "y.h5").exists()


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"split": "training"}, r"--split .*got 'training'; did you mean train\?"),
        ({"tile": "31UER"}, r"--tile must be of the store's \(33UUP\), got '31UER'"),
        ({"label": "Pasture"}, r"--label .*'Pasture'; did you mean Pastures\?"),
        ({"label": "Salines"}, r"no row of .* matches --split, --tile and --label \(of 6 rows\)"),
    ],
)
def test_a_part_that_is_not_there_is_bad_input_and_named(good, tmp_path, part, words):
    with pytest.raises(JobError, match=words) as caught:
        run(good, tmp_path / "x.zarr", **part)
    assert caught.value.status == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("keep_rejected", [False, True])
def test_a_part_of_rejected_rows_alone_is_no_store(tmp_path, keep_rejected):
    store = make_store(tmp_path, GOOD, split=["train", "train", "test", "val", "val", "val"])
    words = ("no row of .* matches", "only rejected rows of .* match")[keep_rejected]
    with pytest.raises(JobError, match=words) as caught:
        run(store, tmp_path / "x.h5", split="test", keep_rejected=keep_rejected)
    assert caught.value.status == 2
    assert not (tmp_path / "x.h5").exists()


@pytest.mark.parametrize("name", ["x.h5", "x.zarr"])
def test_a_name_that_is_taken_is_bad_input_and_what_is_there_stays(good, tmp_path, name):
    (tmp_path / name).mkdir()
    with pytest.raises(JobError, match=f"--out must not be there yet, got .*{name}") as caught:
        run(good, tmp_path / name)
    assert caught.value.status == 2
    assert (tmp_path / name).is_dir()


def test_an_incomplete_store_is_bad_input_and_the_way_on_is_named(tmp_path):
    store = make_store(tmp_path, [1, 0, 1], complete=False)
    with pytest.raises(JobError, match=r"must be complete; .*--resume") as caught:
        run(store, tmp_path / "x.zarr")
    assert caught.value.status == 2


@pytest.mark.parametrize("content", [None, b"no store"])
@pytest.mark.parametrize("name", ["s.h5", "s.zarr"])
def test_what_is_no_store_is_bad_input_and_named(tmp_path, name, content):
    if content and name == "s.h5":
        (tmp_path / name).write_bytes(content)
    elif content:
        zarr.create_group(tmp_path / name)
    with pytest.raises(JobError, match=str(tmp_path / name)) as caught:
        run(tmp_path / name, tmp_path / "x.zarr")
    assert caught.value.status == 2


def test_a_zarr_group_of_version_2_is_bad_input_and_named(tmp_path):
    zarr.create_group(tmp_path / "s.zarr", zarr_format=2)
    with pytest.raises(JobError, match=r"s\.zarr must be a Zarr store of version 3.*it is of version 2") as caught:
        run(tmp_path / "s.zarr", tmp_path / "x.h5")
    assert caught.value.status == 2


def test_a_dry_run_says_what_and_writes_nothing(good, tmp_path, capsys):
    run(good, tmp_path / "x.zarr", dry_run=True, split="val")
    assert "2 of 6 rows" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [{"out": Location.parse("x.tif")}, {"compress": "gzip"}, {"level": 0}, {"chunk_rows": 3}, {"shard_rows": -1}],
)
def test_settings_out_of_range_are_named_with_their_value(wrong):
    value = next(iter(wrong.values()))
    with pytest.raises(ValueError, match=f"--(out|compress|level|shard-rows) .*{value}"):
        ConvertSettings(**{"out": Location.parse("x.zarr"), **wrong})


@pytest.mark.slow
@pytest.mark.parametrize("out", ["x.h5", "x.zarr"])
def test_a_killed_run_leaves_nothing_under_the_name_and_the_next_one_completes(reference, tmp_path, out):
    made = tmp_path / out
    line = ("etl.convert", str(reference), "--out", str(made))
    with begin(1, *line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not draft_of(Location.parse(made)).path.exists() and process.poll() is None:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    assert not made.exists()
    done = ranks(1, *line)
    assert done.returncode == 0, done.stderr
    assert same(arrays(made), content(reference))
    assert [path.name for path in tmp_path.iterdir()] == [out]


@pytest.mark.slow
def test_memory_stays_below_a_bound_that_is_far_from_the_stores_size(reference, tmp_path):
    code = (
        "import resource, sys; from mpi4py import MPI; from etl.convert.run import convert;"
        "from etl.store.location import Location;"
        "from etl.convert.settings import ConvertSettings; import zarr, tensorstore, hdf5plugin;"
        "kib = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]);"
        "before = kib();"
        "convert(ConvertSettings(*map(Location.parse, sys.argv[1:]), shard_rows=8), MPI.COMM_SELF);"
        "print('grew', kib() - before)"
    )
    line = [sys.executable, "-c", code, str(reference), str(tmp_path / "x.zarr")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    grew_mib = int(done.stdout.split("grew")[1]) / 1024
    assert grew_mib < 160 < reference.stat().st_size / 2**20


@pytest.mark.parametrize(("rows", "runs"), [([], []), ([3], [(3, 4)]), ([0, 1, 4, 6, 7], [(0, 2), (4, 5), (6, 8)])])
def test_rows_are_read_as_runs_of_neighbours(rows, runs):
    assert row_ranges(np.array(rows, np.intp)) == runs
