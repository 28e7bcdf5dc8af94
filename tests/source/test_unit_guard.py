"""What was named as hanging is not read, and an image that takes too long is abandoned."""

import numpy as np
import pytest

from etl.heartbeat import activities
from etl.input_files import NO_LINKS
from etl.pixel_groups import PixelGroup
from etl.raster import Georeference, write_jp2
from etl.source.archive import ArchivePatches, PlacedFolder
from etl.source.images import ImagePatches, PlacedImage
from etl.source.inspection import inspect_product
from etl.source.patch import PatchError
from etl.source.unit_guard import UnitError, UnitGuard

REASON = "an earlier run hung here"


def test_a_unit_that_is_refused_is_not_read_and_another_is_noted_while_it_is():
    guard, seen = UnitGuard(refused={"B02": REASON}), []
    with pytest.raises(UnitError, match=REASON):
        guard.run("decoding", "B02", lambda: seen.append("read"))
    assert guard.run("decoding", "B03", lambda: [item.unit for item in activities().values()]) == ["B03"]
    assert seen == []


def test_a_product_a_patch_folder_and_an_image_that_are_refused_give_the_reason(tmp_path):
    paths = [tmp_path / "refused", tmp_path / "absent"]
    guard = UnitGuard(refused={str(paths[0]): REASON})
    folders = ArchivePatches([0, 1], [PlacedFolder((path,), None) for path in paths], (0, 0, 0), guard=guard)
    group = PixelGroup.of_images((8, 8), ("red",), "uint8", None)
    images = ImagePatches([0, 1], [PlacedImage(path) for path in paths], group, guard=guard)
    for source in (folders, images):
        first, second = (patch for _, patch in source.patches())
        assert (type(first), str(first)) == (PatchError, REASON)
        assert "cannot be opened" in str(second)
    assert inspect_product(paths[0], "refused", (0, 0, 0), None, NO_LINKS, guard).problem == REASON
    assert inspect_product(paths[1], "absent", (0, 0, 0), None, NO_LINKS, guard).problem not in ("", REASON)


def test_another_folder_of_a_patch_is_not_refused_with_the_first(tmp_path):
    paths = tmp_path / "one" / "P_0_0", tmp_path / "two" / "P_0_0"
    guard = UnitGuard(refused={str(path): f"{REASON}, at {path}" for path in paths[:1]})
    ((_, patch),) = ArchivePatches([0], [PlacedFolder(paths, None)], (0, 0, 0), guard=guard).patches()
    assert str(patch) == f"{REASON}, at {paths[0]}"  # the first of both, as the second is absent


def test_a_jpeg_2000_image_that_takes_too_long_rejects_its_patch_alone(tmp_path):
    side, rng = 1600, np.random.default_rng(0)
    flat = np.full((side, side), 900, np.uint16)
    for name, pixels in (("slow.jp2", rng.integers(1, 65_000, (side, side)).astype(np.uint16)), ("flat.jp2", flat)):
        write_jp2(tmp_path / name, pixels, Georeference(32633, 300_000.0, 5_000_000.0, 10), side)
    group = PixelGroup.of_images((side, side), ("band_1",), "uint16", None)
    images = [PlacedImage(tmp_path / name) for name in ("flat.jp2", "slow.jp2", "flat.jp2")]
    source = ImagePatches([0, 1, 2], images, group, guard=UnitGuard(0.25)).patches()
    (_, first), (_, second) = next(source), next(source)
    assert np.array_equal(first.native[0][0], flat)
    assert str(second) == f"{tmp_path}/slow.jp2: it takes more than 0.25 s of computing time (--block-s)"
    _, third = next(source)
    assert np.array_equal(third.native[0][0], flat)
