"""Damage that still decodes: rejected before decoding, and found by verify where it was let through."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from bad_input import edit, image, is_written, job, listed, product_of, put_catalogue, random_pixels, reasons
from commands import content, ranks, same

from etl.sample.safe import write_product, zip_product

GOOD, BAND, CLASSES, FOREIGN, ZIPPED, NO_MANIFEST = range(1, 7)
"""Days of the products: nothing wrong, one flipped bit in a band, in the scene classes, ..."""


def flip_bit(path):
    data = bytearray(path.read_bytes())
    data[-700] ^= 16
    path.write_bytes(data)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Products with and without damage, extracted with and without checking their files, on two ranks and one."""
    root = tmp_path_factory.mktemp("damaged")
    specs = {day: product_of(day) for day in range(1, 7)}
    pixels = {day: random_pixels(day) for day in specs}
    folders = {day: write_product(root / "tiles", spec, pixels[day]) for day, spec in specs.items()}
    for day, band, gsd_m in ((BAND, "B05", 20), (CLASSES, "SCL", 20), (ZIPPED, "B02", 10), (NO_MANIFEST, "B02", 10)):
        flip_bit(image(folders[day], band, gsd_m))
    edit(folders[FOREIGN] / "manifest.safe", 'MD5">', 'MD5">0')
    (folders[NO_MANIFEST] / "manifest.safe").unlink()
    zip_product(folders[ZIPPED])
    shutil.rmtree(folders[ZIPPED])
    patches = {day: listed(spec) for day, spec in specs.items()}
    put_catalogue(root / "patches.parquet", [patch for day in patches.values() for patch in day])
    outs = {"checked": root / "checked.h5", "one rank": root / "one.h5", "unchecked": root / "unchecked.h5"}
    done = {
        "checked": job(2, root, outs["checked"]),
        "one rank": job(1, root, outs["one rank"]),
        "unchecked": job(1, root, outs["unchecked"], "--no-check-files"),
    }
    assert {run.returncode for run in done.values()} == {0}, done["checked"].stderr
    stores = {name: content(out) for name, out in outs.items()}
    return SimpleNamespace(root=root, specs=specs, pixels=pixels, patches=patches, outs=outs, done=done, stores=stores)


def test_patches_of_a_damaged_file_are_rejected_with_the_file_and_both_checksums(damaged):
    said = reasons(damaged.outs["checked"])
    for day, name in ((BAND, "B05_20m"), (ZIPPED, "B02_10m")):
        for patch in damaged.patches[day]:
            reason = said.pop(patch["patch"])
            assert f"_{name}.jp2 is damaged: MD5 must be " in reason
            assert "as in manifest.safe, got " in reason
    assert said == {}


def test_all_other_patches_are_written(damaged):
    store = damaged.stores["checked"]
    for day in (GOOD, CLASSES, FOREIGN):
        assert all(is_written(store, patch, damaged.pixels[day]) for patch in damaged.patches[day])


def test_without_its_scene_classification_a_product_has_no_shares_and_all_its_pixels(damaged):
    store = damaged.stores["checked"]
    rows = [store["patch"].tolist().index(patch["patch"].encode()) for patch in damaged.patches[CLASSES]]
    assert np.isnan(store["cloud_share"][rows]).all()
    assert np.isnan(store["snow_share"][rows]).all()
    assert "_SCL_20m.jp2 is damaged: MD5 must be " in damaged.done["checked"].stderr


def test_what_is_not_compared_is_said(damaged):
    said = damaged.done["checked"].stderr
    assert "manifest.safe was written for other files: all 15 checksums differ; its files are not checked" in said
    assert "60 files of 4 products compared with manifest.safe; 2 without checksums: 3 damaged" in said


def test_the_store_does_not_depend_on_the_rank_count(damaged):
    assert same(damaged.stores["checked"], damaged.stores["one rank"])
    assert reasons(damaged.outs["checked"]) == reasons(damaged.outs["one rank"])


def test_damage_let_through_gives_wrong_pixels_which_verify_finds_by_the_checksums_alone(damaged):
    store = damaged.stores["unchecked"]
    for day in (BAND, ZIPPED):
        patches = damaged.patches[day]
        assert not all(is_written(store, patch, damaged.pixels[day]) for patch in patches)
    done = ranks(2, "etl.verify", str(damaged.outs["unchecked"]), "--source", str(damaged.root / "tiles"))
    assert done.returncode == 1
    lines = {line[9:23].strip(): line for line in done.stdout.splitlines()}
    assert lines["source pixels"].startswith("ok")
    assert lines["source files"].startswith("FAILED   source files   3 wrong: ")
    for name in ("B05_20m", "SCL_20m", "B02_10m"):
        assert f"_{name}.jp2 is damaged: MD5 must be " in lines["source files"]
