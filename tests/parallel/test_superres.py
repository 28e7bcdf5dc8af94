"""Extraction with DSen2: whole-tile inference patch by patch, the same bits at any rank count and after a kill."""

import json
import os
import signal
import time
from types import SimpleNamespace

import h5py
import numpy as np
import psutil
import pytest
from commands import begin, content, extract, ranks, same
from networks import assert_same_counts, small_folder, small_network
from scenes import SAMPLE, real_groups, write_scene

from etl.bands import GROUPS
from etl.catalogue.table import read_catalogue_table, write_catalogue
from etl.grid import nominal_origin, patch_cell
from etl.processor import describe_processor
from etl.sample.drawing import draw_tile
from etl.store.journal import Journal, journal_location
from etl.store.location import Location
from etl.upsample.dsen2 import DSen2

ROWS = 40
"""Patches: the first rows of cells of the first tile, its upper border among them."""


@pytest.fixture(scope="module")
def given(sample, tmp_path_factory):
    """Some patches of the sample, small networks, and the store that one rank makes of them."""
    folder = tmp_path_factory.mktemp("dsen2")
    write_catalogue(folder / "patches.parquet", read_catalogue_table(sample / "patches.parquet").slice(0, ROWS))
    networks = small_folder(folder / "weights", blocks=2)
    flags = ("--catalogue", str(folder / "patches.parquet"), "--upsample", "dsen2", "--weights", str(networks))
    done = extract(1, sample, folder / "store.h5", *flags)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(sample=sample, flags=flags, folder=folder, store=folder / "store.h5", said=done.stderr)


def test_every_patch_is_cut_from_whole_tile_inference(given):
    store = content(given.store)
    way = DSen2((small_network(20, blocks=2), small_network(60, blocks=2)))
    drawn = {tile.spec.tile: tile for tile in (draw_tile(SAMPLE, index) for index in range(SAMPLE.tiles))}
    (name,) = set(store["tile"].tolist())
    around = zip(drawn[name.decode()].groups, way.halo_px, strict=True)
    padded = tuple(np.pad(pixels.transpose(2, 0, 1), ((0, 0), (c, c), (c, c)), "symmetric") for pixels, c in around)
    whole = np.zeros((12, 1320, 1320), np.uint16)
    way(padded, whole)
    whole = whole.transpose(1, 2, 0)
    assert len(store["patch"]) > ROWS // 2
    cells = [patch_cell(nominal_origin(name.decode()), *at) for at in zip(store["ulx"], store["uly"], strict=True)]
    cut = np.stack([whole[120 * j : 120 * j + 120, 120 * i : 120 * i + 120] for j, i in cells])
    assert_same_counts(store["data_super"], cut)
    assert len(set(store["uly"].tolist())) > 2


def test_pixels_are_the_same_at_any_rank_count_round_and_balance(given, tmp_path):
    done = extract(3, given.sample, tmp_path / "store.h5", *given.flags, "--round-mib", "3", "--balance", "paper")
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "store.h5"), content(given.store))


def test_native_bands_are_what_any_other_method_stores(given, tmp_path):
    assert extract(1, given.sample, tmp_path / "store.h5", *given.flags[:2]).returncode == 0
    bilinear, sharpened = content(tmp_path / "store.h5"), content(given.store)
    for group in GROUPS:
        assert np.array_equal(bilinear[f"data_{group.name}"], sharpened[f"data_{group.name}"])
    ten = list(GROUPS[0].super_index)
    assert np.array_equal(bilinear["data_super"][..., ten], sharpened["data_super"][..., ten])
    others = [k for k in range(12) if k not in ten]
    assert (bilinear["data_super"][..., others] != sharpened["data_super"][..., others]).mean() > 0.5
    for value in (0, 65535):
        assert np.array_equal(bilinear["data_super"] == value, sharpened["data_super"] == value)


def test_a_run_that_was_killed_is_completed_to_the_same_content_by_the_same_weights_alone(given, tmp_path):
    out = tmp_path / "store.h5"
    paths = (
        "--source",
        str(given.sample / "tiles"),
        "--out",
        str(out),
        "--round-mib",
        "1",
        "--sync-s",
        "0",
        "--resume",
    )
    with (tmp_path / "log").open("w") as log:
        job = begin(2, "etl.extract", *given.flags, *paths, stdout=log, stderr=log)
        journal = journal_location(Location.parse(out))
        while job.poll() is None and not (journal.path.exists() and journal.path.read_bytes().count(b"\n") > 3):
            time.sleep(0.01)
        for process in psutil.Process(job.pid).children(recursive=True):
            os.kill(process.pid, signal.SIGKILL)
        job.wait(60)
    done = sum(stop - first for first, stop in Journal.read(journal).ranges)
    assert 0 < done < len(content(out)["state"])
    other = small_folder(tmp_path / "other", blocks=2, seed=1)
    refused = extract(1, given.sample, out, *given.flags[:-1], str(other), "--resume")
    assert refused.returncode == 2
    assert "--resume needs the catalogue, source and settings of the first run; of " in refused.stderr
    assert "these differ: weights was" in refused.stderr
    resumed = extract(2, given.sample, out, *given.flags, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert same(content(out), content(given.store))


def test_the_store_says_which_weights_made_it_and_the_record_also_on_what(given):
    with h5py.File(given.store) as file:
        weights = json.loads(file.attrs["upsample_weights"])
        assert file.attrs["upsample"] == "dsen2"
        assert file.attrs["upsample_precision"] == "float32"
    assert [w["file"] for w in weights] == ["l2a_dsen2_20m.hdf5", "l2a_dsen2_60m.hdf5"]
    assert all(len(w["sha256"]) == 64 and w["level"] == "L2A" for w in weights)
    record = json.loads(given.store.with_suffix(".json").read_text())
    assert record["weights"] == weights
    assert record["devices"] == {"CPU, windows at once: 1": 1}
    assert record["processors"] == {describe_processor(): 1}
    assert record["warnings"] == []
    assert "tensorflow" in record["software"]


@pytest.mark.parametrize(("level", "words"), [("l1c", "trained on L1C, the pixels are L2A"), ("s2", "does not tell")])
def test_weights_of_another_level_are_a_warning_that_stands_in_the_record(given, tmp_path, level, words):
    networks = small_folder(tmp_path / "weights", level)
    flags = ("--catalogue", str(given.folder / "patches.parquet"), "--upsample", "dsen2", "--weights", str(networks))
    done = extract(1, given.sample, tmp_path / "store.h5", *flags, "--precision", "bfloat16")
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "store.json").read_text())
    assert len(record["warnings"]) == 2
    assert all(words in text and text in done.stderr for text in record["warnings"])
    assert record["precision"] == "bfloat16"


def test_weights_that_do_not_fit_end_the_job_with_status_2_before_anything_is_written(given, tmp_path):
    networks = small_folder(tmp_path / "weights")
    with h5py.File(networks / "l2a_dsen2_60m.hdf5", "r+") as file:
        del file["model_weights/conv2d_1/conv2d_1/bias:0"]
        file["model_weights/conv2d_1/conv2d_1/bias:0"] = np.zeros(5, np.float32)
    flags = ("--catalogue", str(given.folder / "patches.parquet"), "--upsample", "dsen2", "--weights", str(networks))
    done = extract(2, given.sample, tmp_path / "store.h5", *flags)
    assert done.returncode == 2
    assert "l2a_dsen2_60m.hdf5: the bias of conv2d_1 must have shape (4,) and type float32, got (5,)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["weights"]
    paths = ("--catalogue", str(given.folder / "patches.parquet"), "--source", str(given.sample / "tiles"))
    done = ranks(1, "etl.extract", "--upsample", "dsen2", *paths, cwd=tmp_path)
    assert done.returncode == 2
    assert (
        "--weights must be a folder with one file for 20 m and one for 60 m bands, but data/weights/l2a is not a folder"
        in done.stderr
    )


def test_a_patch_archive_is_sharpened_too(given, tmp_path):
    archive, catalogue = given.sample / "BigEarthNet-v1.0", tmp_path / "patches.parquet"
    done = ranks(
        1, "etl.catalogue", "--source", str(archive), "--lists", str(given.sample / "lists"), "--out", str(catalogue)
    )
    assert done.returncode == 0, done.stderr
    write_catalogue(catalogue, read_catalogue_table(catalogue).slice(0, 12))
    flags = ("--catalogue", str(catalogue), "--source", str(archive), *given.flags[2:])
    for size in (1, 2):
        done = extract(size, given.sample, tmp_path / f"{size}.h5", *flags)
        assert done.returncode == 0, done.stderr
    one = content(tmp_path / "1.h5")
    assert same(one, content(tmp_path / "2.h5"))
    assert one["data_super"].any()


@pytest.mark.slow
def test_published_networks_give_the_same_bits_on_the_real_scene_at_any_rank_and_thread_count(
    shared_data, published_weights, tmp_path
):
    tiles, catalogue = tmp_path / "tiles", tmp_path / "patches.parquet"
    groups = real_groups(shared_data)
    write_scene(tiles, groups)
    done = ranks(1, "etl.catalogue", "--source", str(tiles), "--out", str(catalogue), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    write_catalogue(catalogue, read_catalogue_table(catalogue).take([0, 6, 7, 24]))  # two corners, two neighbours
    flags = ("--source", str(tiles), "--upsample", "dsen2", "--weights", str(published_weights / "l1c"))
    stores = []
    for size, threads in ((1, "1"), (3, "1"), (1, "3")):
        out = tmp_path / f"{size}_{threads}.h5"
        done = ranks(
            size, "etl.extract", "--catalogue", str(catalogue), *flags, "--network-threads", threads, "--out", str(out)
        )
        assert done.returncode == 0, done.stderr
        stores.append(content(out))
    assert all(same(stores[0], other) for other in stores[1:])
    for group, pixels in zip(GROUPS[1:], groups[1:], strict=True):
        fine = stores[0]["data_super"][3][..., list(group.super_index)].astype(float)  # the lower right corner
        coarse = fine.reshape(group.patch_px, group.factor, group.patch_px, group.factor, -1).mean((1, 3))
        own = pixels[-group.patch_px :, -group.patch_px :]
        assert np.abs(coarse - own).mean() < 0.03 * own.mean()  # sharpened, and still the same scene
