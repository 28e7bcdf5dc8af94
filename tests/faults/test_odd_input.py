"""Input that is odd but good: all is made."""

import shutil
from unittest import mock

import numpy as np
from bad_input import ORIGIN, SMALL_BLOCKS, image, is_written, job, listed, product_of, put_catalogue, reasons
from commands import content, same

from etl.bands import GROUPS
from etl.raster import Georeference, write_jp2
from etl.sample.safe import BLOCK_PX, write_product, zip_product


def test_when_every_patch_is_rejected_the_store_is_complete_and_holds_none(tile, tmp_path):
    put_catalogue(tmp_path / "patches.parquet", [{**p, "labels": ["Moon"]} for p in listed(tile.spec, 360)])
    (tmp_path / "tiles").symlink_to(tile.root / "tiles")
    done = job(3, tmp_path, tmp_path / "store.h5")
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    assert (store["state"] == 2).all()
    assert store["complete"] == 1
    assert not store["stats/data_10m/count"].any()
    assert "0 patches by 3 ranks" in done.stdout


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
    done = job(1, root, root / "Ausgabe ü.h5")
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


def test_bands_cut_into_other_blocks_than_their_neighbours_are_read_alike(tile, tmp_path):
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    product = tmp_path / "tiles" / tile.spec.name
    for band, gsd_m, side, block in (("B08", 10, 360, 96), ("B12", 20, 180, 180)):
        group = next(k for k, g in enumerate(GROUPS) if band in g.bands)
        pixels = tile.pixels.groups[group][..., GROUPS[group].bands.index(band)]
        assert pixels.shape == (side, side)
        write_jp2(image(product, band, gsd_m), pixels, Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly, gsd_m), block)
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    assert job(3, tmp_path, tmp_path / "store.h5").returncode == 0
    assert same(content(tmp_path / "store.h5"), tile.store)
