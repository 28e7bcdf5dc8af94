"""Patch archives with something wrong: rejected with the file, and all others are made."""

import re
import shutil

import numpy as np
import pytest
from bad_input import (
    ORIGIN,
    cut,
    edit,
    errors,
    geotiff,
    job,
    listed,
    product_of,
    put_catalogue,
    reasons,
    write_patch,
)  # fmt: skip
from commands import content, ranks
from osgeo import gdal

from etl.raster import Georeference, write_geotiff


def replace_geotiff(folder, band, shape, dtype):
    write_geotiff(geotiff(folder, band), np.ones(shape, dtype), Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly, 10))


def take_files(folder, i, bands=("*",)):
    """Copy files of a whole patch of the archive over those of the same bands."""
    source = folder.parent / f"{product_of(1).v1_prefix}_{i}_0"
    for path in (path for band in bands for path in source.glob(f"*_{band}.tif")):
        shutil.copy(path, folder / path.name.replace(source.name, folder.name))


def forget_georeference(path):
    """Write a file of a patch again, without its georeference."""
    pixels = gdal.Open(str(path)).ReadAsArray()
    path.unlink()
    file = gdal.GetDriverByName("GTiff").Create(str(path), *pixels.shape, 1, gdal.GDT_UInt16)
    file.WriteArray(pixels)
    file.FlushCache()


PATCH_FAULTS = {
    "a band is absent": (lambda f: geotiff(f, "B11").unlink(), r"_B11\.tif cannot be opened"),
    "a band is empty": (lambda f: cut(geotiff(f, "B01"), 0), r"_B01\.tif cannot be opened"),
    "a band is cut": (lambda f: cut(geotiff(f, "B02"), 0.5), r"_B02\.tif (is broken|cannot be opened)"),
    "a band is something else": (lambda f: geotiff(f, "B03").write_text("pixels"), r"_B03\.tif cannot be opened"),
    "a band has 8 bits": (
        lambda f: replace_geotiff(f, "B04", (120, 120), np.uint8),
        r"_B04\.tif must be 120 x 120 pixels of UInt16, got 120 x 120 of Byte",
    ),
    "a band has another size": (
        lambda f: replace_geotiff(f, "B8A", (120, 60), np.uint16),
        r"_B8A\.tif must be 60 x 60 pixels of UInt16, got 120 x 60 of UInt16",
    ),
    "a band is another patch's": (
        lambda f: take_files(f, 1, ["B12"]),
        r"_B12\.tif must lie at .* in EPSG:32633 with pixels of 20 m, got 301200, 5400000 in EPSG:32633 with ",
    ),
    "all bands are another patch's": (
        lambda f: take_files(f, 2),
        r"_B02\.tif must lie at .*, got 302400, 5400000 in EPSG:32633 with pixels of 10 m",
    ),
    "the folder is absent": (shutil.rmtree, r"_B02\.tif cannot be opened"),
}
"""What is done to a patch's folder once it is listed, and the reason that rejects it."""

JSON_FAULTS = {
    "is absent": (lambda path: path.unlink(), "must be in the patch's folder, but is missing"),
    "is cut": (lambda path: cut(path, 0.5), "must be JSON"),
    "is no object": (lambda path: path.write_text("[]"), "it lacks labels, coordinates, projection, tile_source"),
    "has no labels": (lambda path: edit(path, '"labels"', '"label"'), "it lacks labels"),
    "has labels that are no list": (lambda path: edit(path, '["Mixed forest"]', "5"), "labels must be a list of names"),
}
"""What is done to a patch's description, and the reason that keeps it out of the catalogue."""


@pytest.mark.parametrize("size", [1, 3])
def test_a_broken_patch_of_an_archive_is_rejected_with_its_file_and_all_others_are_made(tmp_path, size):
    archive, catalogue, out = tmp_path / "archive", tmp_path / "patches.parquet", tmp_path / "store.h5"
    whole = [write_patch(archive, i, 0, i) for i in range(4)]
    cut_off = {fault: write_patch(archive, 20 + k, 1, k) for k, fault in enumerate(JSON_FAULTS)}
    broken = {fault: write_patch(archive, 10 + k, 1, k) for k, fault in enumerate(PATCH_FAULTS)}
    for fault, name in cut_off.items():
        JSON_FAULTS[fault][0](archive / name / f"{name}_labels_metadata.json")
    done = ranks(size, "etl.catalogue", "--source", str(archive), "--out", str(catalogue), "--strict")
    assert done.returncode == 4, done.stderr
    kept_out = reasons(catalogue)
    assert {name: JSON_FAULTS[fault][1] in kept_out[name] for fault, name in cut_off.items()} == dict.fromkeys(
        kept_out, True
    )

    for fault, name in broken.items():
        PATCH_FAULTS[fault][0](archive / name)
    for path in sorted((archive / whole[3]).glob("*.tif")):
        forget_georeference(path)
    done = ranks(size, "etl.extract", "--catalogue", str(catalogue), "--source", str(archive), "--out", str(out))
    assert done.returncode == 0, done.stderr
    store, said = content(out), reasons(out)
    assert set(said) == set(broken.values())
    for fault, name in broken.items():
        assert re.search(PATCH_FAULTS[fault][1], said[name]), said[name]
    assert store["patch"][store["state"] == 1].tolist() == [name.encode() for name in whole]
    for row in np.flatnonzero(store["state"] == 2):
        assert not store["data_super"][row].any()
    (line,) = [line for line in done.stderr.splitlines() if "georeference" in line]
    assert "files without georeference or a part of it, whose place could not be compared: 12, for example " in line
    assert line.endswith(f"{whole[3]}_B02.tif")


def test_an_archive_that_holds_none_of_the_listed_patches_is_refused(tmp_path):
    write_patch(tmp_path / "archive", 0, 0, 0)
    put_catalogue(tmp_path / "patches.parquet", listed(product_of(2)))
    (tmp_path / "archive").rename(tmp_path / "tiles")
    done = job(1, tmp_path, tmp_path / "store.h5")
    assert done.returncode == 2
    assert (
        "--source must hold products (.SAFE, .zarr, .zip), or the catalogue's patches in folders or a .tar file"
        in errors(done)[0]
    )
