"""Input that is odd but good: all is made."""

import hashlib
import shutil
from unittest import mock

import h5py
import numpy as np
import pytest
from bad_input import (
    ORIGIN,
    SMALL_BLOCKS,
    cut_in_block,
    errors,
    image,
    is_written,
    job,
    listed,
    poke,
    product_of,
    put_catalogue,
    reasons,
)
from commands import content, ranks, same

from etl.bands import GROUPS
from etl.raster import Georeference, write_jp2
from etl.sample.product import OFFSET
from etl.sample.safe import BLOCK_PX, write_product, zip_product


def test_one_patch_on_seven_ranks_is_made_by_one_of_them(tile, tmp_path):
    (patch,) = [p for p in listed(tile.spec, 360) if p["patch"].endswith("_1_1")]
    put_catalogue(tmp_path / "patches.parquet", [patch])
    (tmp_path / "tiles").symlink_to(tile.root / "tiles")
    done = job(7, tmp_path, tmp_path / "store.h5")
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    assert is_written(store, patch, tile.pixels)
    assert np.array_equal(store["data_super"][0], tile.store["data_super"][4])


def test_spaces_umlauts_braces_links_and_deep_folders_in_paths_make_no_difference(tile, tmp_path):
    """One product lies deep down, linked, as a folder; its twin of another day is a zip file with .SAFE in its name."""
    root = tmp_path / "Straße nach {Süden} %20 'x'"
    deep = root / "tiles" / "2017 06" / "Österreich"
    deep.mkdir(parents=True)
    here = tile.root / "tiles" / tile.spec.name
    (deep / tile.spec.name).symlink_to(here)
    twin = product_of(2)
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        product = write_product(deep, twin, tile.pixels)
    assert zip_product(product).name.endswith(".SAFE.zip")
    shutil.rmtree(product)
    put_catalogue(root / "patches.parquet", listed(tile.spec, 360) + listed(twin, 360))
    done = job(1, root, root / "Ausgabe ü.h5", "--allow-links", str(here.parent))
    assert done.returncode == 0, done.stderr
    store = content(root / "Ausgabe ü.h5")
    assert (store["state"] == 1).all(), reasons(root / "Ausgabe ü.h5")
    for name in ("data_10m", "data_20m", "data_60m", "data_super", "cloud_share"):
        assert np.array_equal(store[name][:9], tile.store[name])
        assert np.array_equal(store[name][9:], tile.store[name])


def test_without_a_scene_classification_a_limit_rejects_all_patches_unless_they_are_kept(tile, tmp_path):
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    image(tmp_path / "tiles" / tile.spec.name, "SCL", 20).unlink()
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    limits = ("--max-cloud-share", "0", "--max-snow-share", "0")
    assert job(1, tmp_path, tmp_path / "kept.h5", *limits, "--keep-unclassified").returncode == 0
    store = content(tmp_path / "kept.h5")
    assert np.isnan(store["cloud_share"]).all()
    assert np.isnan(store["snow_share"]).all()
    assert np.array_equal(store["data_super"], tile.store["data_super"])
    assert job(1, tmp_path, tmp_path / "store.h5", *limits, "--strict").returncode != 0
    reasons = (tmp_path / "store.rejected.csv").read_text()
    assert (
        reasons.count("cloud share is unknown without a scene classification; --keep-unclassified keeps the patch") == 9
    )


@pytest.mark.parametrize("size", [1, 3])
def test_where_the_scene_classification_is_broken_shares_alone_are_lost_and_one_line_says_so(tile, tmp_path, size):
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    cut_in_block(image(tmp_path / "tiles" / tile.spec.name, "SCL", 20), 4)
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    done = job(size, tmp_path, tmp_path / "store.h5", "--strict", "--no-check-files")
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    assert np.array_equal(np.isnan(store["cloud_share"]), np.arange(9) >= 4)
    assert np.array_equal(store["snow_share"][:4], tile.store["snow_share"][:4])
    for name in ("state", "data_10m", "data_20m", "data_60m", "data_super", "checksum"):
        assert np.array_equal(store[name], tile.store[name])
    (line,) = [line for line in done.stderr.splitlines() if "scene classification" in line]
    assert "is broken, so that cloud and snow shares are NaN: 5, for example " in line
    assert "_SCL_20m.jp2 is broken at row" in line


@pytest.mark.parametrize("size", [1, 3])
def test_a_scene_classification_of_another_tile_is_as_none_and_one_line_says_so(tile, tmp_path, size):
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    path = image(tmp_path / "tiles" / tile.spec.name, "SCL", 20)
    write_jp2(path, np.full((180, 180), 9, np.uint8), Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly - 6000, 20), 60)
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    done = job(size, tmp_path, tmp_path / "store.h5", "--strict")
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    assert np.isnan(store["cloud_share"]).all()
    assert np.array_equal(store["data_super"], tile.store["data_super"])
    (line,) = [line for line in done.stderr.splitlines() if "scene classification" in line]
    assert "NaN: 1, for example" in line
    assert "band SCL must lie at 300000, 5400000 in EPSG:32633 with pixels of 20 m, got 300000, 5394000" in line


def test_a_product_without_offsets_is_read_with_the_assumed_one_which_the_store_and_its_journal_name(tile, tmp_path):
    """Two products of one day: with its list, and with the list taken out of its metadata."""
    spec = product_of(1, baseline="05.10", offsets=OFFSET)
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        product = write_product(tmp_path / "tiles", spec, tile.pixels)
    metadata, manifest = product / "MTD_MSIL2A.xml", product / "manifest.safe"
    before = hashlib.md5(metadata.read_bytes()).hexdigest()
    metadata.write_text(metadata.read_text().replace("BOA_ADD_OFFSET", "OFFSET"))
    manifest.write_text(manifest.read_text().replace(before, hashlib.md5(metadata.read_bytes()).hexdigest()))
    put_catalogue(tmp_path / "patches.parquet", listed(spec, 360))
    out, assumed = tmp_path / "store.h5", ("--assume-offset", "-1000")
    done = job(1, tmp_path, out, "--strict", *assumed)
    assert done.returncode == 0, done.stderr
    assert "products without BOA_ADD_OFFSET, read with the offset of --assume-offset: 1, for example" in done.stderr
    store = content(out)
    for name in ("data_10m", "data_20m", "data_60m", "data_super", "checksum"):
        assert np.array_equal(store[name], tile.store[name])
    with h5py.File(out) as file:
        assert file.attrs["assume_offset"] == -1000
    poke(out, "complete", 0, b"\0")
    for flags in ((), ("--assume-offset", "-500")):
        done = job(1, tmp_path, out, "--resume", *flags)
        assert done.returncode == 2
        assert f"assume_offset was -1000, is {flags[-1] if flags else None}" in errors(done)[0]
    assert job(1, tmp_path, out, "--resume", *assumed).returncode == 0
    done = ranks(1, "etl.verify", str(out), "--source", str(tmp_path / "tiles"), "--sample", "0")
    assert done.returncode == 0, done.stdout
    assert "9 rows, native bands bit for bit" in done.stdout
    assert "15 files of 1 product compared with manifest.safe" in done.stdout


def test_bands_cut_into_other_blocks_than_their_neighbours_are_read_alike(tile, tmp_path):
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    product = tmp_path / "tiles" / tile.spec.name
    for band, gsd_m, side, block in (("B08", 10, 360, 96), ("B12", 20, 180, 180)):
        group = next(k for k, g in enumerate(GROUPS) if band in g.bands)
        pixels = tile.pixels.groups[group][..., GROUPS[group].bands.index(band)]
        assert pixels.shape == (side, side)
        write_jp2(image(product, band, gsd_m), pixels, Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly, gsd_m), block)
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    # re-encoded files are not those of manifest.safe
    assert job(3, tmp_path, tmp_path / "store.h5", "--no-check-files").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)
