"""An HDF5 store seen as Zarr without a copy: equal arrays, read part by part, also after both files have moved."""

import json
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from mpi4py import MPI
from stores import GOOD, make_store

import etl
from etl.convert.run import convert
from etl.convert.settings import ConvertSettings
from etl.exit_status import JobError
from etl.store.location import Location

pytestmark = pytest.mark.slow


def run(store: Path, out: Path, **settings: Any) -> Path:
    """What is made of a store."""
    assert convert(ConvertSettings(Location.parse(store), Location.parse(out), **settings), MPI.COMM_SELF) == 0
    return out


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete store of six rows, the third of them rejected."""
    return make_store(tmp_path_factory.mktemp("good"), GOOD)


def read_as_zarr(manifest: Path) -> xr.Dataset:
    """The dataset of a manifest as a reader without this package, and without HDF5, sees it."""
    how = {"fo": str(manifest), "remote_protocol": "file"}
    return xr.open_dataset(
        "reference://", engine="zarr", consolidated=False, storage_options=how, mask_and_scale=False, decode_cf=False
    )


LAYOUTS = [None, {"compress": "gzip"}, {"compress": "zstd"}, {"compress": "blosc"}]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("chunk_rows", [1, 4])
def test_a_manifest_shows_the_same_dataset_as_its_store(good, tmp_path, layout, chunk_rows):
    store = good
    if layout:
        store = run(good, tmp_path / "s.h5", keep_rejected=True, chunk_rows=chunk_rows, shard_rows=chunk_rows, **layout)
    manifest = run(store, tmp_path / "s.json")
    for all_rows in (False, True):
        one, other = etl.open_store(store, all_rows=all_rows), etl.open_store(manifest, all_rows=all_rows)
        assert other.identical(one)
    assert manifest.stat().st_size < 60_000
    with xr.open_dataset(store, engine="h5netcdf", mask_and_scale=False, decode_cf=False) as plain:
        seen = read_as_zarr(manifest)
        assert set(plain.variables) == set(seen.variables)
        for name in plain.variables:
            assert seen[name].dims == plain[name].dims
            assert seen[name].values.tobytes() == plain[name].values.tobytes(), name


@pytest.mark.parametrize(("rows", "chunk"), [(1, 1), (6, 6), (70, 35), (67, 1), (128, 64)])
def test_contiguous_rows_are_cut_evenly_into_chunks(tmp_path, rows, chunk):
    store = make_store(tmp_path, [1] * rows, upsampled=False)
    manifest = run(store, tmp_path / "s.json")
    ds = read_as_zarr(manifest)
    assert json.loads(json.loads(manifest.read_text())["refs"]["data_10m/.zarray"])["chunks"][0] == chunk
    ends = etl.open_store(store)["data_10m"].isel(patch=[0, -1])
    assert (ds["data_10m"].isel(patch=[0, -1]).values == ends.values).all()


def test_store_and_manifest_can_move_together(good, tmp_path):
    made = run(good, tmp_path / "s.json")
    home = tmp_path / "home"
    home.mkdir()
    moved = made.rename(home / "s.json")
    (home / good.name).write_bytes(good.read_bytes())
    text = moved.read_text().replace(str(good.resolve()), str(tmp_path / "gone" / good.name))
    moved.write_text(text)
    assert etl.open_store(moved).identical(etl.open_store(good))
    (home / good.name).unlink()
    with pytest.raises(ValueError, match=r"s\.json names store\.h5, which must lie beside it"):
        etl.open_store(moved)


def test_what_is_no_manifest_is_an_error_that_names_it(tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"refs": 1}))
    with pytest.raises(ValueError, match=r"s\.json must be a manifest made by python -m etl\.convert"):
        etl.open_store(tmp_path / "s.json")


def test_a_manifest_is_of_a_whole_hdf5_store(good, tmp_path):
    for wrong in ({"split": "train"}, {"compress": "zstd"}):
        with pytest.raises(ValueError, match=r"--out .*whole HDF5 store|--compress"):
            ConvertSettings(Location.parse(good), Location.parse(tmp_path / "s.json"), **wrong)
    with pytest.raises(ValueError, match="whole HDF5 store"):
        ConvertSettings(Location.parse(tmp_path / "s.zarr"), Location.parse(tmp_path / "s.json"))
    (tmp_path / "s.json").touch()
    with pytest.raises(JobError, match="--out must not be there yet"):
        run(good, tmp_path / "s.json")


def test_a_dry_run_writes_no_manifest(good, tmp_path):
    run(good, tmp_path / "s.json", dry_run=True)
    assert not list(tmp_path.iterdir())
