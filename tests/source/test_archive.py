"""Patch archives: both published layouts, pixels exactly as they are, and a broken file is the loss of one patch."""

import random
import shutil

import numpy as np
import pytest

from etl.bands import GROUPS
from etl.catalogue.finder import patch_locator
from etl.raster import Georeference, write_geotiff
from etl.source.archive import ArchivePatches
from etl.source.patch import PatchError, pixel_shares
from etl.stage_timer import StageTimer

V1 = "S2A_MSIL2A_20170613T101031_87_48"
V2 = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"


def write_patch(folder, seed=0):
    """A patch of random pixels, nodata and saturation among them, in its folder; its three groups."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    groups = []
    for group in GROUPS:
        pixels = rng.integers(0, 65536, (group.patch_px, group.patch_px, len(group.bands))).astype(np.uint16)
        pixels[:2, :2], pixels[-2:, -2:] = 0, 65535
        for k, band in enumerate(group.bands):
            where = Georeference(32633, 399960.0, 5_400_000.0, group.gsd_m)
            write_geotiff(folder / f"{folder.name}_{band}.tif", pixels[..., k], where)
        groups.append(pixels)
    return groups


def interleaved(planes):
    return planes.transpose(1, 2, 0).copy()


def read(folders, halo_px=(0, 0, 0)):
    """All patches of these folders, shape (row, col, band); pixels are copied, as buffers are used again."""
    patches = []
    for _, patch in ArchivePatches(range(len(folders)), folders, halo_px).patches():
        patches.append(patch if isinstance(patch, PatchError) else [interleaved(array) for array in patch.native])
    return patches


def test_the_layout_of_version_1_and_of_version_2_is_seen_on_one_patch(tmp_path):
    (tmp_path / "v1" / V1).mkdir(parents=True)
    product = V2.removesuffix("_26_57")
    (tmp_path / "v2" / product / V2).mkdir(parents=True)
    assert patch_locator(tmp_path / "v1")("other") == tmp_path / "v1" / "other"
    assert patch_locator(tmp_path / "v2")(f"{product}_1_2") == tmp_path / "v2" / product / f"{product}_1_2"
    (tmp_path / "neither" / "readme").mkdir(parents=True)
    assert patch_locator(tmp_path / "neither") is None


def test_patches_come_in_the_order_asked_for_with_their_rows_and_exact_pixels_and_no_classification(tmp_path):
    wanted = [write_patch(tmp_path / f"{V1}_{k}", k) for k in range(3)]
    folders = [tmp_path / f"{V1}_{k}" for k in (2, 0, 1)]
    timer = StageTimer()
    source = ArchivePatches([5, 7, 11], folders, (0, 0, 0), timer)
    assert list(source.outgoing()) == []
    for (row, patch), want_row, k in zip(source.patches(), (5, 7, 11), (2, 0, 1), strict=True):
        assert row == want_row
        assert all(np.array_equal(interleaved(got), want) for got, want in zip(patch.native, wanted[k], strict=True))
        assert patch.scl is None
    assert pixel_shares([np.ones((4, 8, 8), np.uint16)], None).unclassified
    assert source.decoded == 3


def test_beyond_its_border_a_lone_patch_is_mirrored(tmp_path):
    wanted = write_patch(tmp_path / V1)
    (got,) = read([tmp_path / V1], (0, 1, 3))
    for array, pixels, halo in zip(got, wanted, (0, 1, 3), strict=True):
        assert np.array_equal(array, np.pad(pixels, ((halo, halo), (halo, halo), (0, 0)), "symmetric"))


@pytest.mark.parametrize("band", ["B02", "B12", "B01"])
def test_a_file_cut_at_any_length_rejects_its_patch_by_name_and_never_gives_wrong_pixels(tmp_path, band):
    names = [f"{V1}_{k}" for k in range(3)]
    wanted = [write_patch(tmp_path / name, k) for k, name in enumerate(names)]
    path, rng = tmp_path / names[1] / f"{names[1]}_{band}.tif", random.Random(2017)
    data = path.read_bytes()
    for size in (0, 1, 7, 8, len(data) - 1, *(rng.randrange(len(data)) for _ in range(40))):
        path.write_bytes(data[:size])
        before, broken, after = read([tmp_path / name for name in names])
        assert isinstance(broken, PatchError), size
        assert str(path) in str(broken)
        for got, want in ((before, wanted[0]), (after, wanted[2])):
            assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda path: path.unlink(), "cannot be opened"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be opened"),
        (lambda path: path.write_text("no pixels"), "cannot be opened"),
        (lambda path: shutil.rmtree(path.parent), "cannot be opened"),
        (
            lambda path: replace(path, np.ones((60, 60), np.uint8)),
            r"must be 60 x 60 pixels of UInt16, got 60 x 60 of Byte",
        ),
        (lambda path: replace(path, np.ones((60, 61), np.uint16)), r"must be 60 x 60 .*, got 60 x 61 of UInt16"),
        (lambda path: replace(path, np.ones((120, 120), np.uint16)), r"must be 60 x 60 .*, got 120 x 120 of UInt16"),
    ],
)
def test_a_missing_file_or_one_of_another_type_or_size_rejects_its_patch_and_says_what_came(tmp_path, change, wanted):
    write_patch(tmp_path / V1)
    path = tmp_path / V1 / f"{V1}_B05.tif"
    change(path)
    (got,) = read([tmp_path / V1])
    with pytest.raises(PatchError, match=rf"(_B05|_B02)\.tif {wanted}"):
        raise got


def replace(path, pixels):
    write_geotiff(path, pixels, Georeference(32633, 399960.0, 5_400_000.0, 20))
