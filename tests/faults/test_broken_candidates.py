"""A product that cannot be read does not hide another one of the same acquisition that can."""

import re
import shutil
from datetime import datetime
from types import SimpleNamespace
from unittest import mock

import pytest
from bad_input import (
    SMALL_BLOCKS,
    cut,
    cut_in_block,
    edit,
    image,
    is_written,
    job,
    listed,
    product_of,
    put_catalogue,
    random_pixels,
)
from commands import content, same

from etl.sample.safe import BLOCK_PX, write_product, zip_product


def half_downloaded(product):
    cut(zip_product(product), 0.5)
    shutil.rmtree(product)


def smaller(product):
    spec = product_of(int(product.name[17:19]), generated=datetime(2017, 7, 2))
    shutil.rmtree(product)
    assert write_product(product.parent, spec, random_pixels(0, 240)) == product


NEWER = {
    "a half-downloaded zip file": (half_downloaded, r"\.SAFE\.zip is passed over: .* must be a zip file"),
    "no metadata": (lambda p: (p / "MTD_MSIL2A.xml").unlink(), r"must hold MTD_MSIL2A\.xml, which is missing"),
    "a band is missing": (lambda p: image(p, "B09", 60).unlink(), r"B09 missing"),
    "a band is cut in its header": (lambda p: cut(image(p, "B8A", 20), 100), r"band B8A: .*cannot be opened"),
    "another projection": (
        lambda p: edit(next(p.glob("GRANULE/*/MTD_TL.xml")), "EPSG:32633", "EPSG:32733"),
        r"must lie at 300000, \d+ in EPSG:32733",
    ),
    "a smaller tile": (smaller, r"its grid must be 360 px from 300000, .*, got 240 px from 300000, "),
}  # fmt: skip
"""What is wrong with the newer of two products of an acquisition, and the reason that is logged."""

ANYWAY = "--no-check-files"
"""The checksums would find most of these faults before they are met."""

BLOCK = "a block is broken"
COPY = "a block is broken in the folder, and the zip file of the product is whole"
BESIDE = "the zip file of the product is half-downloaded"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Acquisitions with a good older product and a newer one with a fault, extracted on two ranks."""
    root, patches, good = tmp_path_factory.mktemp("candidates"), {}, {}
    with mock.patch.dict(BLOCK_PX, SMALL_BLOCKS):
        for day, fault in enumerate((*NEWER, BLOCK), start=1):
            older, newer = (product_of(day, generated=datetime(2017, 7, k)) for k in (1, 2))
            write_product(root / "tiles", older, random_pixels(day, 360))
            product = write_product(root / "tiles", newer, random_pixels(100 + day, 360))
            if fault == BLOCK:
                cut_in_block(image(product, "B02", 10), 8)
            else:
                NEWER[fault][0](product)
            patches[fault], good[fault] = listed(newer, 360), (older, random_pixels(day, 360))
        for day, fault in ((20, COPY), (21, BESIDE)):
            spec = product_of(day)
            product = write_product(root / "tiles", spec, random_pixels(day, 360))
            zipped = zip_product(product)
            if fault == COPY:
                cut_in_block(image(product, "B02", 10), 8)
            else:
                cut(zipped, 0.5)
            patches[fault], good[fault] = listed(spec, 360), (spec, random_pixels(day, 360))
    put_catalogue(root / "patches.parquet", [patch for of_fault in patches.values() for patch in of_fault])
    done = job(2, root, root / "store.h5", "--strict", ANYWAY)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(root=root, patches=patches, good=good, done=done, store=content(root / "store.h5"))


@pytest.mark.parametrize("fault", [*NEWER, BESIDE, COPY])
def test_the_next_product_that_can_be_read_serves_instead(run, fault):
    spec, pixels = run.good[fault]
    for patch in run.patches[fault]:
        assert is_written(run.store, patch, pixels)
        row = run.store["patch"].tolist().index(patch["patch"].encode())
        assert run.store["product"][row].decode() == spec.name.removesuffix(".SAFE")


@pytest.mark.parametrize("fault", NEWER)
def test_what_is_passed_over_is_said_with_its_reason_and_with_what_serves_instead(run, fault):
    spec, _ = run.good[fault]
    (line,) = [line for line in run.done.stderr.splitlines() if f"{spec.name} serves instead" in line]
    assert " is passed over: " in line
    assert re.search(NEWER[fault][1], line)


def test_a_broken_block_rejects_no_patch_that_another_product_has(run):
    spec, older = run.good[BLOCK]
    newer = random_pixels(100 + len(NEWER) + 1, 360)
    served = []
    for patch in run.patches[BLOCK]:
        assert is_written(run.store, patch, older) or is_written(run.store, patch, newer)
        row = run.store["patch"].tolist().index(patch["patch"].encode())
        served.append(run.store["product"][row].decode() == spec.name.removesuffix(".SAFE"))
    assert served == [False] * 8 + [True]
    assert "2 patches cannot be read, for example: " in run.done.stderr
    assert "the next product of the acquisition serves instead" in run.done.stderr


def test_a_product_with_a_wrong_checksum_is_passed_over_if_another_serves(run, tmp_path):
    put_catalogue(tmp_path / "patches.parquet", [*run.patches[BLOCK], *run.patches[COPY]])
    (tmp_path / "tiles").symlink_to(run.root / "tiles")
    done = job(2, tmp_path, tmp_path / "store.h5", "--strict")
    assert done.returncode == 0, done.stderr
    store = content(tmp_path / "store.h5")
    for fault in (BLOCK, COPY):
        spec, pixels = run.good[fault]
        assert all(is_written(store, patch, pixels) for patch in run.patches[fault])
        assert re.search(rf"is passed over: .*_B02_10m\.jp2.*; {spec.name}\S* serves instead", done.stderr)


def test_nothing_of_this_depends_on_the_number_of_ranks(run, tmp_path):
    done = job(3, run.root, tmp_path / "store.zarr", "--shard-rows", "16", ANYWAY)
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "store.zarr"), run.store)
