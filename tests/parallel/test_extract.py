"""Extraction: the same content at any rank count, balance and kind of write, pixel for pixel what was drawn."""

import json
import subprocess

import h5py
import numpy as np
import pytest
import xarray as xr
from commands import content, extract, ranks, same
from scenes import SAMPLE

from etl.bands import GROUPS
from etl.catalogue.table import read_catalogue
from etl.grid import nominal_origin, patch_cell
from etl.sample.drawing import draw_tile
from etl.upsample.bilinear import upsample_bilinear


@pytest.mark.parametrize(
    ("size", "balance", "write"),
    [
        *[(2, balance, write) for balance in ("cost", "paper") for write in ("collective", "independent")],
        *[(size, *how) for size in (3, 7) for how in (("cost", "collective"), ("paper", "independent"))],
    ],
)
def test_content_is_the_same_whatever_the_rank_count_balance_and_write(
    sample, reference, tmp_path, size, balance, write
):
    done = extract(size, sample, tmp_path / "store.h5", "--balance", balance, "--write", write, "--round-mib", "8")
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "store.h5"), content(reference))


def test_content_is_the_same_on_72_ranks(sample, reference, tmp_path):
    done = extract(72, sample, tmp_path / "store.h5", timeout=280)
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "store.h5"), content(reference))


@pytest.fixture(scope="module")
def drawn(sample):
    """Drawn tiles by MGRS name."""
    return {tile.spec.tile: tile for tile in (draw_tile(SAMPLE, index) for index in range(SAMPLE.tiles))}


def test_rows_are_the_kept_patches_in_the_order_tile_row_column_with_what_the_catalogue_says(sample, reference):
    listed = read_catalogue(sample / "patches.parquet")
    kept = listed.take(~listed.snow & ~listed.cloud)
    store = content(reference)
    assert len(kept) == len(store["patch"]) < len(listed)
    for name in ("patch", "tile", "classes", "split", "ulx", "uly", "epsg"):
        assert np.array_equal(store[name], getattr(kept, name)), name
    order = np.lexsort((store["ulx"], -store["uly"], store["tile"]))
    assert np.array_equal(order, np.arange(len(order)))
    assert store["complete"] == 1
    assert np.all(store["state"] == 1)


def test_native_pixels_are_what_was_drawn_and_the_others_their_upsampling_without_seams(reference, drawn):
    store = content(reference)
    for row in range(0, len(store["patch"]), 3):
        name = store["tile"][row].decode()
        j, i = patch_cell(nominal_origin(name), store["ulx"][row], store["uly"][row])
        for group, pixels in zip(GROUPS, drawn[name].groups, strict=True):
            side = group.patch_px
            patch = pixels[j * side : (j + 1) * side, i * side : (i + 1) * side]
            assert np.array_equal(store[f"data_{group.name}"][row], patch)
            if group.factor > 1:
                around = np.pad(pixels.transpose(2, 0, 1), ((0, 0), (1, 1), (1, 1)), "edge")
                window = around[:, j * side : (j + 1) * side + 2, i * side : (i + 1) * side + 2]
                patch = upsample_bilinear(window, group.factor).transpose(1, 2, 0)
            assert np.array_equal(store["data_super"][row][..., list(group.super_index)], patch)


def test_the_patch_archive_gives_the_same_native_pixels_as_the_tile(sample, reference, tmp_path):
    catalogue = tmp_path / "patches.parquet"
    archive = sample / "BigEarthNet-v1.0"
    done = ranks(
        1, "etl.catalogue", "--source", str(archive), "--lists", str(sample / "lists"), "--out", str(catalogue)
    )
    assert done.returncode == 0, done.stderr
    flags = ("--catalogue", str(catalogue), "--source", str(archive))
    assert extract(3, sample, tmp_path / "store.h5", *flags).returncode == 0
    patches, tiles = content(tmp_path / "store.h5"), content(reference)
    rows = {name: row for row, name in enumerate(tiles["patch"])}
    rows = [rows[name] for name in patches["patch"]]
    assert len(rows) > 100
    for group in GROUPS:
        assert np.array_equal(patches[f"data_{group.name}"], tiles[f"data_{group.name}"][rows])
    inner = slice(6, -6)  # a lone patch sees itself mirrored where a tile has a neighbour
    assert np.array_equal(patches["data_super"][:, inner, inner], tiles["data_super"][rows][:, inner, inner])
    assert np.isnan(patches["cloud_share"]).all()


def test_statistics_are_those_of_the_pixels(reference):
    store = content(reference)
    for name in ("data_10m", "data_20m", "data_60m", "data_super"):
        for split in range(4):
            pixels = store[name][store["split"] == split].astype(np.uint64).reshape(-1, store[name].shape[-1])
            valid = (pixels != 0) & (pixels != 65535)
            wanted = {
                "count": valid.sum(0), "nodata": (pixels == 0).sum(0), "saturated": (pixels == 65535).sum(0),
                "sum": (pixels * valid).sum(0), "sum_squares": (pixels * pixels * valid).sum(0),
            }  # fmt: skip
            for key, value in wanted.items():
                words = store[f"stats/{name}/{key}"][split].astype(object)
                assert np.array_equal(words[:, 0] * 2**64 + words[:, 1], value), (name, key)


def test_upsample_none_leaves_data_super_out_and_the_rest_as_it_is(sample, reference, tmp_path):
    assert extract(2, sample, tmp_path / "store.h5", "--upsample", "none").returncode == 0
    found, whole = content(tmp_path / "store.h5"), content(reference)
    assert "data_super" not in found
    for name in ("data_10m", "data_20m", "data_60m", "classes", "state", "stats/data_20m/sum"):
        assert np.array_equal(found[name], whole[name]), name


def test_a_limit_on_cloud_rejects_by_the_products_own_classification(sample, reference, tmp_path):
    whole = content(reference)
    limit = float(np.quantile(whole["cloud_share"], 0.9))
    done = extract(2, sample, tmp_path / "store.h5", "--max-cloud-share", str(limit), "--strict")
    found = content(tmp_path / "store.h5")
    over = whole["cloud_share"] > np.float32(limit)
    assert over.any()
    assert done.returncode == 4
    assert np.array_equal(found["state"], np.where(over, 2, 1))
    assert np.array_equal(found["cloud_share"], whole["cloud_share"])
    assert not found["data_super"][over].any()
    assert len((tmp_path / "store.rejected.csv").read_text().splitlines()) == over.sum() + 1


def test_dry_run_tells_the_plan_and_writes_nothing(sample, tmp_path):
    done = extract(3, sample, tmp_path / "store.h5", "--dry-run")
    assert done.returncode == 0
    assert "rank 2:" in done.stdout
    assert "GiB" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_record_counts_what_was_done(sample, reference):
    record = json.loads((sample / "reference.json").read_text())
    assert record["patches"] == len(content(reference)["patch"])
    assert record["ranks"] == 1
    assert record["decoded_twice_share"] == 0


@pytest.mark.parametrize("balance", ["cost", "paper"])
def test_many_ranks_decode_no_block_twice(sample, reference, tmp_path, balance):
    alone = json.loads((sample / "reference.json").read_text())
    assert extract(5, sample, tmp_path / "store.h5", "--balance", balance).returncode == 0
    record = json.loads((tmp_path / "store.json").read_text())
    assert record["blocks_decoded"] == alone["blocks_decoded"] > 0
    assert record["decoded_twice_share"] == 0


def test_xarray_sees_named_dimensions_bands_and_classes(reference):
    with xr.open_dataset(reference, engine="h5netcdf") as store:
        assert store["data_super"].dims == ("patch", "y_10m", "x_10m", "band_super")
        assert store["data_20m"].sel(band_20m="B8A").dims == ("patch", "y_20m", "x_20m")
        assert store["class"].values[42] == "Sea and ocean"
        assert store["acquired"].dtype.kind == "M"
        assert store["data_10m"].encoding["scale_factor"] == 1e-4


def test_netcdf_and_hdf5_tools_read_it(reference):
    header = subprocess.run(["ncdump", "-h", str(reference)], capture_output=True, text=True, check=True).stdout
    assert "ushort data_super(patch, y_10m, x_10m, band_super)" in header
    dump = subprocess.run(
        ["h5dump", "-d", "/classes", str(reference)], capture_output=True, text=True, check=True
    ).stdout
    assert "H5T_STD_U8LE" in dump
    with h5py.File(reference) as file:
        assert file["data_super"].id.get_offset() % 2**20 == 0
