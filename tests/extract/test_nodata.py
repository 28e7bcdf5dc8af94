"""Patches that lack data, extracted: shares, limits, rejections, what the run says; other patches stay as they are."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from bad_input import job, listed, product_of, put_catalogue, random_pixels, reasons
from commands import content, same

from etl.bands import GROUPS
from etl.sample.safe import write_product

PIXELS = ("data_10m", "data_20m", "data_60m", "data_super")
LEFT_HALF, EMPTY, NO_B05, NO_B02_BUT_ONE, CORNER = 0, 1, 4, 6, 8
"""Cells of the tile of 3 x 3 patches, row by row, that lack data; patches 2, 3, 5 and 7 are whole."""


def cell(array, number, group):
    """The view of one patch, shape (row, col, band), of a tile's pixels of one group."""
    row, column = divmod(number, 3)
    side = GROUPS[group].patch_px
    return array[row * side : (row + 1) * side, column * side : (column + 1) * side]


def erase(pixels):
    """Set pixels of some patches to nodata, all of them inside the patch by more than upsampling reaches."""
    for k, array in enumerate(pixels.groups):
        side = GROUPS[k].patch_px
        cell(array, LEFT_HALF, k)[:, : side // 2] = 0
        cell(array, EMPTY, k)[...] = 0
    cell(pixels.groups[1], NO_B05, 1)[..., GROUPS[1].bands.index("B05")] = 0
    cell(pixels.groups[0], NO_B02_BUT_ONE, 0)[..., 0] = 0
    cell(pixels.groups[0], NO_B02_BUT_ONE, 0)[60, 60, 0] = 7
    cell(pixels.groups[2], CORNER, 2)[-1, -1, 1] = 0


def catalogue_of(spec):
    """The catalogue's patches in the order of `cell`."""
    return sorted(listed(spec, 360), key=lambda patch: (-patch["uly"], patch["ulx"]))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One product as it is, one that lacks data in places, and the stores of both."""
    spec, roots = product_of(1), {}
    for name in ("whole", "lacking"):
        roots[name] = tmp_path_factory.mktemp(name)
        pixels = random_pixels(3, 360)
        pixels.scl[...] = 4
        if name == "lacking":
            cell(pixels.scl, LEFT_HALF, 1)[:, 45:] = 9  # half of the half with data
            erase(pixels)
        write_product(roots[name] / "tiles", spec, pixels)
        put_catalogue(roots[name] / "patches.parquet", catalogue_of(spec))
        done = job(1, roots[name], roots[name] / "store.h5", "--upsample", "none")
        assert done.returncode == 0, done.stderr
    names = [patch["patch"] for patch in catalogue_of(spec)]
    return SimpleNamespace(root=roots["lacking"], done=done, names=names, whole=content(roots["whole"] / "store.h5"))


@pytest.fixture(scope="module")
def store(made):
    return content(made.root / "store.h5")


def test_every_row_has_its_share_of_pixels_without_data(made, store):
    assert store["patch"].astype(str).tolist() == made.names
    expected = np.zeros(9, np.float32)
    expected[[LEFT_HALF, EMPTY, NO_B05]] = 0.5, 1, 1
    expected[NO_B02_BUT_ONE], expected[CORNER] = 1 - 1 / 14400, 36 / 14400
    assert store["nodata_share"].tolist() == expected.tolist()


def test_cloud_is_a_share_of_the_pixels_with_data_and_unknown_without_any(store):
    assert store["cloud_share"][LEFT_HALF] == 0.5
    assert np.isnan(store["cloud_share"][[EMPTY, NO_B05]]).all()
    assert store["snow_share"][CORNER] == 0


def test_only_the_patch_without_data_in_any_band_is_rejected_and_counted_apart(made, store):
    assert np.flatnonzero(store["state"] == 2).tolist() == [EMPTY]
    assert reasons(made.root / "store.h5") == {made.names[EMPTY]: "no pixel has data in any band"}
    assert "8 patches written, 1 rejected by 1 rank in " in made.done.stdout.splitlines()[-1]
    assert "1 patch is rejected, for example: no pixel has data in any band (1)" in made.done.stderr


def test_a_band_that_is_empty_in_a_whole_patch_gives_one_warning_and_counts(made):
    assert made.done.stderr.count("1 patch has a band without any data") == 1
    assert "4 patches written with pixels that lack data in at least one band" in made.done.stdout
    record = json.loads((made.root / "store.json").read_text())
    assert (record["patches_with_nodata"], record["patches_with_empty_band"]) == (4, 1)
    assert (record["written"], record["rejected"], record["patches"]) == (8, 1, 8)


def test_pixels_and_checksums_of_whole_patches_stay_as_they_were(made, store):
    whole = [2, 3, 5, 7]
    for name in (*PIXELS[:3], "checksum"):
        assert np.array_equal(store[name][whole], made.whole[name][whole])


@pytest.mark.parametrize(("size", "name"), [(3, "store.h5"), (1, "store.zarr"), (3, "store.zarr")])
def test_what_is_written_does_not_depend_on_ranks_and_format(made, store, tmp_path, size, name):
    done = job(size, made.root, tmp_path / name, "--upsample", "none", "--shard-rows", "3")
    assert done.returncode == 0, done.stderr
    found = content(tmp_path / name)
    assert same({key: found[key] for key in store}, store)
    assert f"8 patches written, 1 rejected by {size} rank{'s' * (size > 1)} in " in done.stdout.splitlines()[-1]
    assert done.stderr.count("1 patch has a band without any data") == 1


def test_upsampling_keeps_nodata_where_it_is(made, tmp_path):
    assert job(1, made.root, tmp_path / "store.h5").returncode == 0
    found = content(tmp_path / "store.h5")
    for group, name in zip(GROUPS, PIXELS, strict=False):
        empty = found[name] == 0
        coarse = empty.repeat(group.factor, 1).repeat(group.factor, 2)
        assert np.array_equal(found["data_super"][..., list(group.super_index)] == 0, coarse), name


def test_a_limit_rejects_with_the_share_and_reasons_that_differ_in_it_count_together(made, tmp_path):
    done = job(1, made.root, tmp_path / "store.h5", "--upsample", "none", "--max-nodata-share", "0.1", "--strict")
    assert done.returncode == 4
    said = reasons(tmp_path / "store.h5")
    assert [made.names.index(name) for name in said] == [LEFT_HALF, EMPTY, NO_B05, NO_B02_BUT_ONE]
    assert said[made.names[LEFT_HALF]] == "nodata share 0.500 is above the limit 0.1"
    assert said[made.names[EMPTY]] == "no pixel has data in any band"
    assert "4 patches are rejected, for example: nodata share 0.500 is above the limit 0.1 (3); " in done.stderr
    assert "5 patches written, 4 rejected by 1 rank in " in done.stdout
    assert "without any data" not in done.stderr
