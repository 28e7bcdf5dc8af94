"""Every command that takes a store takes every store: each format, layout and place gives equal arrays and scores."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from buckets import BUCKET, serve
from commands import ranks
from mpi4py import MPI
from stores import GOOD, as_zarr, make_store

import etl
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.labels import CLASSES_19
from etl.preview.contact_sheet import read_contact_sheet
from etl.preview.settings import PreviewSettings
from etl.stats.run import stats
from etl.stats.settings import StatsSettings
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.verify.run import verify
from etl.verify.settings import VerifySettings
from trainer.config import BandSelection, EvaluateRunSettings, PredictRunSettings
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, select_rows
from trainer.data.stream import BatchStream
from trainer.evaluate import evaluate
from trainer.predict import predict
from trainer.workers.horovod import Workers

LAYOUTS = {
    "contiguous.h5": {},
    "contiguous.hdf5": {},
    "gzip.h5": {"compress": "gzip", "chunk_rows": 2, "shard_rows": 2},
    "blosc.h5": {"compress": "blosc"},
    "zstd.h5": {"compress": "zstd"},
    "packed.zarr": {"shard_rows": 4},
    "plain.zarr": {"compress": "none", "shard_rows": 4},
    "unsharded.zarr": {"shard_rows": 0},
    f"s3://{BUCKET}/there.zarr": {"shard_rows": 4},
}
"""Stores by name, with the settings of the conversion that makes each."""

VARIANTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "without data_super": {"upsampled": False},
    "19 classes": {"nomenclature": 19, "labels": [[CLASSES_19[k], CLASSES_19[3 * k % 19]] for k in range(len(GOOD))]},
}
BANDS = "B05,B06,B07"


@pytest.fixture(scope="module")
def bucket() -> Iterator[None]:
    """An S3 server, and what reaches it in the environment."""
    with pytest.MonkeyPatch.context() as patch, serve() as server:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="module", params=VARIANTS)
def stores(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bucket: None) -> dict[str, Path]:
    """One store, the third of its rows rejected, in every layout."""
    folder = tmp_path_factory.mktemp("stores")
    made = {"contiguous.h5": make_store(folder, GOOD, **VARIANTS[request.param])}
    for name, settings in LAYOUTS.items():
        if name not in made:
            kept = name.replace("there", f"there-{folder.name}")
            made[name] = Path(kept) if kept.startswith("s3:") else folder / kept
            done = ConvertSettings(
                Location.parse(made["contiguous.h5"]), Location.parse(made[name]), keep_rejected=True, **settings
            )
            assert convert(done, MPI.COMM_SELF) == 0
    return made


def all_arrays(path: Path) -> dict[str, bytes]:
    """Bytes of every array of a store, and which there are."""
    with StoreReader(path) as store:
        pixels = {item.name for item in store.schema.pixels}
        rows = np.arange(store.schema.rows)
        read = {name: store.read(name, rows) if name in pixels else store.column(name) for name in store.names}
    return {name: array.tobytes() for name, array in read.items()}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_store_is_verified_and_holds_equal_arrays(stores, name, capsys):
    assert verify(VerifySettings(Location.parse(stores[name])), MPI.COMM_SELF) == 0, capsys.readouterr().out
    assert all_arrays(stores[name]) == all_arrays(stores["contiguous.h5"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_store_is_drawn_and_counted_alike(stores, name, tmp_path):
    found = []
    for path in (stores["contiguous.h5"], stores[name]):
        sheet = read_contact_sheet(PreviewSettings(Location.parse(path), tmp_path / "p.png"))
        assert stats(StatsSettings(Location.parse(path), tmp_path / "s.png"), MPI.COMM_SELF) == 0
        counted = json.loads((tmp_path / "s.json").read_text())
        told = {key: value for key, value in counted.items() if key not in ("store", "seconds")}
        found.append((sheet.counts, [(card.row, card.labels, card.pixels.tobytes()) for card in sheet.cards], told))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_store_is_converted_and_opened_alike(stores, name, tmp_path):
    assert (
        convert(
            ConvertSettings(Location.parse(stores[name]), Location.parse(tmp_path / "back.h5"), keep_rejected=True),
            MPI.COMM_SELF,
        )
        == 0
    )
    assert all_arrays(tmp_path / "back.h5") == all_arrays(stores["contiguous.h5"])
    one, other = (etl.open_store(stores[which], all_rows=True) for which in ("contiguous.h5", name))
    assert one.equals(other)


@pytest.mark.parametrize("name", LAYOUTS)
def test_training_reads_equal_batches_of_every_store(stores, name):
    batches = []
    for path in (stores["contiguous.h5"], stores[name]):
        bands = (BandSelection("data_10m"), BandSelection("data_60m", ("B09",)))
        rows = select_rows(path, RowSelection(bands, "all", labelled_only=False))
        sampler = DistributedSampler(len(rows), 2, 1, seed=3)
        stream = BatchStream(rows, 2, lambda step, sampler=sampler: sampler.rank_batch(step, 0))
        batches.append([array.numpy().tobytes() for array in tf.nest.flatten(list(stream(range(4))))])
    assert len(batches[0]) == 4 * 5
    assert batches[0] == batches[1]


@pytest.mark.parametrize("name", ["store.h5", "store.zarr"])
def test_a_store_of_schema_version_1_is_read_by_every_command_and_keeps_its_version(tmp_path, name):
    made = make_store(tmp_path, GOOD, version="1")
    store = made if name == made.name else as_zarr(made, tmp_path / name)
    place, copy = Location.parse(store), tmp_path / "copy.h5"
    assert verify(VerifySettings(place), MPI.COMM_SELF) == 0
    assert stats(StatsSettings(place, tmp_path / "s.html"), MPI.COMM_SELF) == 0
    assert len(read_contact_sheet(PreviewSettings(place)).cards) == GOOD.count(1)
    assert convert(ConvertSettings(place, Location.parse(copy), keep_rejected=True), MPI.COMM_SELF) == 0
    assert all_arrays(copy) == all_arrays(made)
    assert verify(VerifySettings(Location.parse(copy)), MPI.COMM_SELF) == 0
    rows = select_rows(store, RowSelection((BandSelection("data_super"),), "all", labelled_only=False))
    assert rows.reader.schema.version == "1"
    assert len(rows) == GOOD.count(1)
    opened = etl.open_store(store)
    assert "nodata_share" not in opened.coords
    assert etl.to_tile_mosaic(opened, "33UUP").sizes["band"] == 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, bucket: None) -> dict[str, Path]:
    """The store of all arrays in every layout."""
    folder = tmp_path_factory.mktemp("whole")
    made = {"contiguous.h5": make_store(folder, GOOD)}
    for name, settings in LAYOUTS.items():
        if name not in made:
            kept = name.replace("there", "whole")
            made[name] = Path(kept) if kept.startswith("s3:") else folder / kept
            done = ConvertSettings(
                Location.parse(made["contiguous.h5"]), Location.parse(made[name]), keep_rejected=True, **settings
            )
            assert convert(done, MPI.COMM_SELF) == 0
    return made


def trained_on(store: Path, out: Path) -> np.ndarray:
    """What one step of training leaves: the checkpoint's arrays as bytes."""
    plain = (
        "--network",
        "small",
        "--bands",
        BANDS,
        "--steps",
        "1",
        "--batch",
        "2",
        "--validate-every",
        "0",
        "--threads",
        "1",
    )
    done = ranks(1, "trainer.run", "--store", str(Location.parse(store)), "--out", str(out), *plain)
    assert done.returncode == 0, done.stderr
    with np.load(out / "checkpoint.npz") as file:
        return {name: file[name].tobytes() for name in file.files if name != "said"}


@pytest.fixture(scope="module")
def run(whole: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network after one step."""
    out = tmp_path_factory.mktemp("run") / "run"
    trained_on(whole["contiguous.h5"], out)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", [f"s3://{BUCKET}/there.zarr"])
def test_training_on_another_store_gives_the_same_weights(whole, run, name, tmp_path):
    with np.load(run / "checkpoint.npz") as file:
        expected = {key: file[key].tobytes() for key in file.files if key != "said"}
    found = trained_on(whole[name], tmp_path / "run")
    assert found.keys() == expected.keys()
    assert [key for key in found if found[key] != expected[key]] == []


def results(run: Path, store: Path, folder: Path) -> tuple[Any, Any]:
    """Scores, and the table of probabilities, of a store."""
    shutil.copytree(run, folder / "run")
    alone = Workers(None)
    assert evaluate(EvaluateRunSettings(folder / "run", Location.parse(store), split="all", batch=2), alone) == 0
    assert (
        predict(
            PredictRunSettings(folder / "run", Location.parse(store), split="all", batch=2, out=folder / "p.parquet"),
            alone,
        )
        == 0
    )
    scores = json.loads((folder / "run" / "evaluate.all.json").read_text())["scores"]
    return scores, pq.read_table(folder / "p.parquet")


@pytest.fixture(scope="module")
def expected(whole: dict[str, Path], run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """Results of the contiguous HDF5 store."""
    return results(run, whole["contiguous.h5"], tmp_path_factory.mktemp("expected"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LAYOUTS if name != "contiguous.h5"])
def test_evaluation_and_prediction_take_every_store(whole, run, expected, name, tmp_path):
    scores, table = results(run, whole[name], tmp_path)
    assert scores == expected[0]
    assert table.equals(expected[1])
    assert (tmp_path / "run" / "samples.npz").exists()


@pytest.mark.slow
def test_evaluation_and_prediction_need_no_array_but_those_of_the_network(whole, run, expected, tmp_path, capsys):
    needed = ("data_super", "band_super", "classes", "class", "state", "split", "complete", "stats")
    with h5py.File(whole["contiguous.h5"]) as file, h5py.File(tmp_path / "other.h5", "w") as other:
        for name in needed:
            file.copy(name, other, without_attrs=True)
        other.attrs.update(file.attrs)
    scores, table = results(run, tmp_path / "other.h5", tmp_path)
    for of_kind in expected[0].values():  # the other store does not name tiles
        assert [(tile["tile"], tile["rows"]) for tile in of_kind["tiles"]] == [("33UUP", 5)]
    without = {kind: {name: one[name] for name in one if name != "tiles"} for kind, one in expected[0].items()}
    out = capsys.readouterr().out
    assert scores == without
    assert "has no such arrays: patch, tile, epsg, ulx, uly" in out
    assert (tmp_path / "run" / "samples.npz").exists()  # its picture is of the one array there is
    assert table["row"].to_pylist() == [0, 1, 3, 4, 5]
    with StoreReader(whole["contiguous.h5"]) as store:
        classes = store.text("class")
    assert table.column_names == ["row", *classes, "labels"]
    assert table.select(classes).equals(expected[1].select(classes))
    assert table["labels"].to_pylist() == expected[1]["labels"].to_pylist()


def test_a_manifest_is_refused_by_one_message_and_opened_by_open_store(tmp_path):
    store, manifest = make_store(tmp_path, GOOD), tmp_path / "store.json"
    assert convert(ConvertSettings(Location.parse(store), Location.parse(manifest)), MPI.COMM_SELF) == 0
    assert etl.open_store(manifest).sizes["patch"] == GOOD.count(1)
    words = r"store must be the store itself \(.h5, .hdf5 or .zarr\), got the manifest .*store\.json"
    for refused in (
        lambda: verify(VerifySettings(Location.parse(manifest)), MPI.COMM_SELF),
        lambda: read_contact_sheet(PreviewSettings(Location.parse(manifest), tmp_path / "p.png")),
        lambda: stats(StatsSettings(Location.parse(manifest), tmp_path / "s.png"), MPI.COMM_SELF),
        lambda: convert(ConvertSettings(Location.parse(manifest), Location.parse(tmp_path / "x.h5")), MPI.COMM_SELF),
        lambda: select_rows(manifest, RowSelection((BandSelection("data_10m"),))),
    ):
        with pytest.raises((JobError, ValueError), match=words):
            refused()


@pytest.mark.parametrize("name", ["store.tif", "store", "s3://bucket/store.h5"])
def test_a_name_that_no_store_has_is_refused_alike(tmp_path, name):
    path = Path(name) if name.startswith("s3:") else tmp_path / name
    words = r"store (must end in .h5, .hdf5 or .zarr|in a bucket must be s3://BUCKET/NAME.zarr), got "
    for refused in (
        lambda: verify(VerifySettings(Location.parse(path)), MPI.COMM_SELF),
        lambda: StoreReader(path),
        lambda: etl.open_store(path),
        lambda: ConvertSettings(Location.parse(path), Location.parse(tmp_path / "x.h5")),
    ):
        with pytest.raises((JobError, ValueError), match=words):
            refused()
