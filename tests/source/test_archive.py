"""Patch archives: both published layouts, pixels exactly as they are, and a broken file is the loss of one patch."""

import random
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
from osgeo import gdal

from etl.bands import GROUPS
from etl.grid import PixelWindow
from etl.input_files import Links, fault_text
from etl.raster import Georeference, RasterFile, write_geotiff
from etl.source.archive import ArchivePatches, PlacedFolder
from etl.source.geotiff import PlainGeoTiffs
from etl.source.patch import PatchError, pixel_shares
from etl.source.warning import UNPLACED, summarise_warnings
from etl.stage_timer import StageTimer

V1 = "S2A_MSIL2A_20170613T101031_87_48"


PLACE = Georeference(32633, 399960.0, 5_400_000.0, 10)


@pytest.fixture
def silent_gdal():
    """GDAL prints no warnings."""
    gdal.PushErrorHandler("CPLQuietErrorHandler")
    yield
    gdal.PopErrorHandler()


def write_patch(folder, seed=0, place=PLACE):
    """A patch of random pixels, nodata and saturation among them, in its folder; its three groups."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    groups = []
    for group in GROUPS:
        pixels = rng.integers(0, 65536, (group.patch_px, group.patch_px, len(group.bands))).astype(np.uint16)
        pixels[:2, :2], pixels[-2:, -2:] = 0, 65535
        for k, band in enumerate(group.bands):
            write_geotiff(folder / f"{folder.name}_{band}.tif", pixels[..., k], replace(place, gsd_m=group.gsd_m))
        groups.append(pixels)
    return groups


def interleaved(planes):
    return planes.transpose(1, 2, 0).copy()


def source_of(folders, place=PLACE):
    return ArchivePatches(range(len(folders)), [PlacedFolder((folder,), place) for folder in folders], (0, 0, 0))


def read(folders, halo_px=(0, 0, 0), place=PLACE):
    """All patches of these folders, shape (row, col, band); pixels are copied, as buffers are used again."""
    patches, placed = [], [PlacedFolder((folder,), place) for folder in folders]
    for _, patch in ArchivePatches(range(len(folders)), placed, halo_px).patches():
        patches.append(patch if isinstance(patch, PatchError) else [interleaved(array) for array in patch.native])
    return patches


def test_patches_come_in_the_order_asked_for_with_their_rows_and_exact_pixels_and_no_classification(tmp_path):
    wanted = [write_patch(tmp_path / f"{V1}_{k}", k) for k in range(3)]
    folders = [PlacedFolder((tmp_path / f"{V1}_{k}",), PLACE) for k in (2, 0, 1)]
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
            lambda path: rewrite(path, np.ones((60, 60), np.uint8)),
            r"must be 60 x 60 pixels of UInt16, got 60 x 60 of Byte",
        ),
        (lambda path: rewrite(path, np.ones((60, 61), np.uint16)), r"must be 60 x 60 .*, got 60 x 61 of UInt16"),
        (lambda path: rewrite(path, np.ones((120, 120), np.uint16)), r"must be 60 x 60 .*, got 120 x 120 of UInt16"),
    ],
)
def test_a_missing_file_or_one_of_another_type_or_size_rejects_its_patch_and_says_what_came(tmp_path, change, wanted):
    write_patch(tmp_path / V1)
    path = tmp_path / V1 / f"{V1}_B05.tif"
    change(path)
    (got,) = read([tmp_path / V1])
    with pytest.raises(PatchError, match=rf"(_B05|_B02)\.tif {wanted}"):
        raise got


def rewrite(path, pixels, place=PLACE):
    write_geotiff(path, pixels, replace(place, gsd_m=20))


# --- where the files say that they lie --------------------------------------------------------------------------------

ELSEWHERE = {
    "another patch of the tile": replace(PLACE, ulx=PLACE.ulx + 1200),
    "half a pixel to the north": replace(PLACE, uly=PLACE.uly + 5),
    "the same corner in the neighbouring zone": replace(PLACE, epsg=32632),
    "the other hemisphere": replace(PLACE, epsg=32733),
}


@pytest.mark.parametrize("where", ELSEWHERE)
@pytest.mark.parametrize("band", ["B02", "B09"])
def test_a_file_of_another_place_rejects_its_patch_and_says_both_places(tmp_path, band, where):
    write_patch(tmp_path / V1)
    write_patch(tmp_path / "other" / V1, place=ELSEWHERE[where])
    shutil.copy(tmp_path / "other" / V1 / f"{V1}_{band}.tif", tmp_path / V1)
    gsd_m, found = {"B02": 10, "B09": 60}[band], ELSEWHERE[where]
    (got,) = read([tmp_path / V1])
    assert str(got) == (
        f"{tmp_path / V1}/{V1}_{band}.tif must lie at 399960, 5400000 in EPSG:32633 with pixels of {gsd_m} m, "
        f"got {found.ulx:.0f}, {found.uly:.0f} in EPSG:{found.epsg} with pixels of {gsd_m} m"
    )


def test_a_file_of_right_size_with_pixels_of_another_side_rejects_its_patch(tmp_path):
    write_patch(tmp_path / V1)
    write_geotiff(tmp_path / V1 / f"{V1}_B05.tif", np.ones((60, 60), np.uint16), PLACE)
    (got,) = read([tmp_path / V1])
    assert str(got).endswith("with pixels of 20 m, got 399960, 5400000 in EPSG:32633 with pixels of 10 m")


def translate(path, **options):
    """The file written again by GDAL, with some options of gdal_translate."""
    copy = path.with_suffix(".copy")
    gdal.Translate(str(copy), str(path), format="GTiff", **options)
    copy.replace(path)


def forget(path, projection_only=False):
    """Write the file again without georeference, or without the projection alone."""
    file = gdal.Open(str(path))
    pixels, transform = file.ReadAsArray(), file.GetGeoTransform()
    path.unlink()
    bare = gdal.GetDriverByName("GTiff").Create(str(path), *pixels.shape, 1, gdal.GDT_UInt16)
    if projection_only:
        bare.SetGeoTransform(transform)
    bare.WriteArray(pixels)
    bare.FlushCache()


ODD_FILES = {
    "compressed": lambda path: translate(path, creationOptions=["COMPRESS=DEFLATE", "PREDICTOR=2"]),
    "tiled": lambda path: translate(path, creationOptions=["TILED=YES", "BLOCKXSIZE=16", "BLOCKYSIZE=16"]),
    "big endian": lambda path: translate(path, creationOptions=["ENDIANNESS=BIG"]),
    "a BigTIFF": lambda path: translate(path, creationOptions=["BIGTIFF=YES"]),
    "one line a strip": lambda path: translate(path, creationOptions=["BLOCKYSIZE=1"]),
    "placed by pixel centres": lambda path: translate(path, metadataOptions=["AREA_OR_POINT=Point"]),
    "with statistics and a nodata value": lambda path: translate(path, noData=0, stats=True),
    "in a projection without code": lambda path: translate(
        path, outputSRS="+proj=utm +zone=33 +datum=WGS84 +units=m +no_defs"
    ),
}


@pytest.mark.parametrize("form", ODD_FILES)
def test_files_of_every_form_give_the_same_pixels_and_are_still_held_against_their_place(tmp_path, form):
    wanted = write_patch(tmp_path / V1)
    for path in sorted((tmp_path / V1).iterdir()):
        ODD_FILES[form](path)
    source = source_of([tmp_path / V1])
    ((_, patch),) = source.patches()
    assert not isinstance(patch, PatchError), patch
    assert all(np.array_equal(interleaved(got), want) for got, want in zip(patch.native, wanted, strict=True))
    assert source.warnings == []
    ((_, moved),) = source_of([tmp_path / V1], replace(PLACE, ulx=PLACE.ulx + 10)).patches()
    assert "must lie at 399970, 5400000 in EPSG:32633" in str(moved)


def test_files_without_georeference_are_read_and_counted_once(tmp_path):
    wanted = [write_patch(tmp_path / f"{V1}_{k}", k) for k in range(2)]
    for path in sorted((tmp_path / f"{V1}_1").iterdir()):
        forget(path)
    source = source_of([tmp_path / f"{V1}_{k}" for k in range(2)])
    for (_, patch), groups in zip(source.patches(), wanted, strict=True):
        assert all(np.array_equal(interleaved(got), want) for got, want in zip(patch.native, groups, strict=True))
    first = f"{tmp_path / f'{V1}_1'}/{V1}_1_B02.tif"
    assert source.warnings == [(UNPLACED, first, 12)]
    assert summarise_warnings([*source.warnings, *source.warnings]) == [f"{UNPLACED}: 24, for example {first}"]


def test_a_patch_with_a_broken_file_is_read_from_another_folder_of_it_and_counted(tmp_path):
    wanted = write_patch(tmp_path / "whole" / V1)
    write_patch(tmp_path / "half" / V1, seed=1)
    broken = tmp_path / "half" / V1 / f"{V1}_B12.tif"  # read last: the bands before it are the other folder's
    broken.write_bytes(bytes(broken.stat().st_size))
    copies = (tmp_path / "half" / V1, tmp_path / "whole" / V1)
    source = ArchivePatches([0], [PlacedFolder(copies, PLACE)], (0, 0, 0))
    ((_, patch),) = source.patches()
    assert all(np.array_equal(interleaved(got), want) for got, want in zip(patch.native, wanted, strict=True))
    [warning] = source.warnings
    assert warning.what == "patches read from another folder of theirs, as a file of the first is broken"
    assert (warning.example.startswith(str(broken)), warning.times) == (True, 1)


def test_a_file_without_projection_alone_is_held_against_its_corner(tmp_path):
    write_patch(tmp_path / V1)
    forget(tmp_path / V1 / f"{V1}_B8A.tif", projection_only=True)
    source = source_of([tmp_path / V1])
    assert not isinstance(next(source.patches()).patch, PatchError)
    assert [(warning.what, warning.times) for warning in source.warnings] == [(UNPLACED, 1)]
    ((_, moved),) = source_of([tmp_path / V1], replace(PLACE, uly=PLACE.uly - 1200)).patches()
    assert isinstance(moved, PatchError)


def test_a_patch_that_no_list_places_is_read_wherever_it_lies(tmp_path):
    wanted = write_patch(tmp_path / V1, place=ELSEWHERE["the other hemisphere"])
    (got,) = read([tmp_path / V1], place=None)
    assert all(np.array_equal(array, pixels) for array, pixels in zip(got, wanted, strict=True))


@pytest.mark.usefixtures("silent_gdal")
def test_the_tags_of_a_plain_file_say_what_gdal_says_even_when_they_are_damaged(tmp_path):
    """Any byte of the header changed: the pixels are right, or the file is refused."""
    (wanted, *_), rng = write_patch(tmp_path / V1), random.Random(2017)
    path = tmp_path / V1 / f"{V1}_B02.tif"
    data = path.read_bytes()
    header = len(data) - wanted[..., 0].nbytes
    assert 0 < header < 1000
    for _ in range(300):
        changed = bytearray(data)
        changed[rng.randrange(header)] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        plain, own = PlainGeoTiffs(), np.zeros((120, 120), np.uint16)
        if plain.read(str(path), own, PLACE):
            file, by_gdal = RasterFile(path), np.zeros((120, 120), np.uint16)
            file.read(PixelWindow(0, 0, 120, 120), by_gdal)
            assert np.array_equal(own, by_gdal)
            assert file.mismatch((120, 120), "UInt16", PLACE) == ""
    path.write_bytes(struct.pack("<4sI", b"II*\0", 8))
    assert not PlainGeoTiffs().read(str(path), np.zeros((120, 120), np.uint16), PLACE)


def test_files_and_folders_of_patches_that_are_links_are_read_where_they_may_lead(tmp_path):
    """Patches as git-annex keeps them, and one whose folder is a link to a mirror."""
    names, wanted = [f"{V1}_{k}" for k in range(2)], []
    for k, name in enumerate(names):
        wanted.append(write_patch(tmp_path / "objects" / name, k))
    (tmp_path / "archive" / names[0]).mkdir(parents=True)
    for path in (tmp_path / "objects" / names[0]).iterdir():
        (tmp_path / "archive" / names[0] / path.name).symlink_to(path)
    (tmp_path / "archive" / names[1]).symlink_to(tmp_path / "objects" / names[1])
    placed = [PlacedFolder((tmp_path / "archive" / name,), PLACE) for name in names]
    links = Links.into(tmp_path / "archive", tmp_path / "objects")
    patches = ArchivePatches(range(2), placed, (0, 0, 0), links=links).patches()
    for (_, patch), groups in zip(patches, wanted, strict=True):
        assert all(np.array_equal(interleaved(got), want) for got, want in zip(patch.native, groups, strict=True))
    own = Links.into(tmp_path / "archive")
    for _, patch in ArchivePatches(range(2), placed, (0, 0, 0), links=own).patches():
        assert isinstance(patch, PatchError)
        assert "is a link that leads out of --source, to " in str(patch)


@pytest.mark.parametrize("fault", [MemoryError(), RecursionError(), UnicodeError("odd"), OverflowError("large")])
def test_whatever_is_raised_while_a_patch_is_read_is_its_reason_alone(tmp_path, monkeypatch, fault):
    names = [f"{V1}_{k}" for k in range(3)]
    for k, name in enumerate(names):
        write_patch(tmp_path / name, k)
    read_plain = PlainGeoTiffs.read

    def fail(self, path, *arguments):
        if names[1] in path:
            raise fault
        return read_plain(self, path, *arguments)

    monkeypatch.setattr(PlainGeoTiffs, "read", fail)
    before, broken, after = read([tmp_path / name for name in names])
    assert isinstance(broken, PatchError)
    assert str(broken) == f"{tmp_path / names[1]} cannot be read: {fault_text(fault)}"
    assert not isinstance(before, PatchError)
    assert not isinstance(after, PatchError)
