"""Real patches, a real scene and real metadata go in and come out bit for bit; labels in the published order."""

import json
import re
import shutil
import zipfile
from datetime import UTC, datetime
from itertools import product as pairs
from types import SimpleNamespace

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import content, ranks
from PIL import Image

from etl.bands import BAND_BY_NAME, BANDS, GROUPS
from etl.grid import nominal_origin
from etl.labels import CLASSES_19, CLASSES_43
from etl.product_files import ProductError
from etl.raster import Georeference, write_jp2
from etl.sample.pixels import TilePixels
from etl.sample.product import OFFSET, ProductSpec
from etl.sample.safe import BLOCK_PX, to_stored, write_product, zip_product
from etl.source.open_product import read_product


def extract(folder, source, *flags, size=1, lists=None):
    """Catalogue and store of a source; the store's content."""
    catalogue, out = folder / "patches.parquet", folder / "store.h5"
    more = ("--lists", str(lists)) if lists else ()
    done = ranks(1, "etl.catalogue", "--source", str(source), "--out", str(catalogue), *more, "--strict", cwd=folder)
    assert done.returncode == 0, done.stderr
    given = ("--catalogue", str(catalogue), "--source", str(source), "--out", str(out))
    done = ranks(size, "etl.extract", *given, *flags, "--strict", cwd=folder)
    assert done.returncode == 0, done.stderr
    return content(out)


def published(folder):
    """The three native groups of a patch's folder, read without GDAL."""

    def image(band):
        return np.asarray(Image.open(folder / f"{folder.name}_{band}.tif"))

    return [np.stack([image(band) for band in group.bands], axis=-1) for group in GROUPS]


def assert_same_pixels(store, row, groups):
    for group, pixels in zip(GROUPS, groups, strict=True):
        assert pixels.dtype == np.uint16
        assert np.array_equal(store[f"data_{group.name}"][row], pixels), group.name
    assert np.array_equal(store["data_super"][row][..., list(GROUPS[0].super_index)], groups[0])


def test_the_patches_of_version_1_come_out_bit_for_bit_with_their_labels_in_published_order(shared_data, tmp_path):
    order = json.loads((shared_data / "lists" / "label_indices.json").read_text())["original_labels"]
    assert {name: index for index, name in enumerate(CLASSES_43)} == order
    folders = sorted((shared_data / "patches_v1").iterdir())
    assert len(folders) == 7
    store = extract(tmp_path, shared_data / "patches_v1", size=2)
    assert sorted(store["patch"].tolist()) == [folder.name.encode() for folder in folders]
    for row, name in enumerate(store["patch"].tolist()):
        folder = shared_data / "patches_v1" / name.decode()
        said = json.loads((folder / f"{folder.name}_labels_metadata.json").read_text())
        assert_same_pixels(store, row, published(folder))
        assert store["classes"][row].nonzero()[0].tolist() == sorted(order[label] for label in said["labels"])
        assert (store["ulx"][row], store["uly"][row]) == (said["coordinates"]["ulx"], said["coordinates"]["uly"])
        assert said["projection"].endswith(f'"EPSG","{store["epsg"][row]}"]]')
        tile, time = re.search(r"_T(\w{5})_", said["tile_source"])[1], said["tile_source"].split("_")[2]
        assert store["tile"][row] == tile.encode()
        acquired = datetime.fromtimestamp(int(store["acquired"][row]), UTC)
        assert (
            abs((acquired - datetime.fromisoformat(said["acquisition_date"]).replace(tzinfo=UTC)).total_seconds()) < 60
        )
        assert f"{acquired:%Y%m%d}" in time


def test_the_patch_of_version_2_comes_out_bit_for_bit_with_its_19_labels_and_split(shared_data, tmp_path):
    archive = shared_data / "patches_v2" / "BigEarthNet-S2"
    (folder,) = archive.glob("*/*")
    store = extract(tmp_path, archive, lists=shared_data / "lists")
    assert store["patch"].tolist() == [folder.name.encode()]
    assert_same_pixels(store, 0, published(folder))
    table = pq.read_table(shared_data / "lists" / "metadata_v2.parquet")
    (said,) = table.filter(pc.equal(table["patch_id"], folder.name)).to_pylist()
    assert store["classes"].shape == (1, 19)
    assert [CLASSES_19[k] for k in store["classes"][0].nonzero()[0]] == sorted(said["labels"], key=CLASSES_19.index)
    assert said["split"] == "validation"
    assert store["split"].tolist() == [2]
    column, row = map(int, folder.name.split("_")[-2:])
    origin = nominal_origin("33UUP")
    assert (store["ulx"][0], store["uly"][0]) == (origin.ulx + 1200 * column, origin.uly - 1200 * row)


# --- the real scene as tiles of every origin, era and form ------------------------------------------------------------

TILES = {
    "33UUB, as in 2017: old names, 02.05": ({"tile": "33UUB", "old_form": True}, "folder"),
    "32TNR, old names, zipped": ({"tile": "32TNR", "old_form": True, "baseline": "02.07"}, "zip"),
    "29SQB, 02.12": ({"tile": "29SQB", "baseline": "02.12"}, "compressed zip"),
    "35VPK, 04.00 with offset": ({"tile": "35VPK", "baseline": "04.00", "offsets": OFFSET}, "folder"),
    "56HLH, south of the equator, 05.10 with offset": (
        {"tile": "56HLH", "baseline": "05.10", "offsets": OFFSET}, "zip",
    ),
    "34WFT, 05.11 with offsets of its own": (
        {"tile": "34WFT", "baseline": "05.11", "offsets": tuple(-1000 - k for k in range(13))}, "folder",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(shared_data):
    """The real scene with some nodata, saturated and smallest valid pixels painted in, across patch borders."""
    with np.load(next((shared_data / "scenes").glob("*.npz"))) as file:
        groups = [file[f"data_{group.name}"].copy() for group in GROUPS]
    rng = np.random.default_rng(0)
    for pixels in groups:
        assert pixels.dtype == np.uint16
        side = pixels.shape[0]
        pixels[side // 5 - 2 : side // 5 + 3, : side // 2] = 0
        pixels[side // 2 :, -3:] = 65535
        for value in (0, 1, 2, 64_000, 65535):
            row, col, band = (rng.integers(0, size, side // 2) for size in pixels.shape)
            pixels[row, col, band] = value
    scl = rng.integers(0, 12, (300, 300)).astype(np.uint8)
    return TilePixels(*groups, scl)


@pytest.fixture(scope="module")
def tiles(scene, tmp_path_factory):
    """The scene as a tile of each of TILES, in one archive, extracted on two ranks; small blocks in half of them."""
    folder = tmp_path_factory.mktemp("scene")
    specs = {}
    for number, (name, (said, form)) in enumerate(TILES.items()):
        sensed = datetime(2017, 5, 27, 10, 20, number)
        made = {"baseline": "02.05", "generated": datetime(2017, 5, 27, 12), **said}
        specs[name] = ProductSpec("S2A", sensed, sensed, relative_orbit=65, absolute_orbit=10070 + number, **made)
        with pytest.MonkeyPatch.context() as patch:
            for gsd_m, block in ((10, 256), (20, 100), (60, 40)) if number % 2 else ():
                patch.setitem(BLOCK_PX, gsd_m, block)
            product = write_product(folder / "tiles", specs[name], scene)
        if form == "zip":
            zip_product(product)
        elif form == "compressed zip":
            with zipfile.ZipFile(f"{product}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for path in sorted(product.rglob("*")):
                    archive.write(path, path.relative_to(product.parent))
        if form != "folder":
            shutil.rmtree(product)
    return SimpleNamespace(specs=specs, store=extract(folder, folder / "tiles", size=2))


def cells(store, spec):
    """(row of the store, row j, column i) of a tile's patches."""
    origin = nominal_origin(spec.tile)
    for row in np.flatnonzero(store["tile"] == spec.tile.encode()):
        yield row, int(origin.uly - store["uly"][row]) // 1200, int(store["ulx"][row] - origin.ulx) // 1200


@pytest.mark.parametrize("name", TILES)
def test_the_real_scene_comes_out_bit_for_bit_from_every_tile_era_baseline_and_form(tiles, scene, name):
    store, spec = tiles.store, tiles.specs[name]
    found = list(cells(store, spec))
    assert sorted((j, i) for _, j, i in found) == list(pairs(range(5), range(5)))
    for row, j, i in found:
        sides = [group.patch_px for group in GROUPS]
        parts = [
            pixels[j * s : (j + 1) * s, i * s : (i + 1) * s] for s, pixels in zip(sides, scene.groups, strict=True)
        ]
        assert_same_pixels(store, row, parts)
        assert store["state"][row] == 1
        assert store["product"][row] == spec.name.removesuffix(".SAFE").encode()
        assert store["baseline"][row] == spec.baseline.encode()
        assert store["epsg"][row] == nominal_origin(spec.tile).epsg
        classes = scene.scl[60 * j : 60 * j + 60, 60 * i : 60 * i + 60]
        # pixels without data in a band or without a class count neither as cloud nor as clear
        missing = np.zeros((120, 120), bool)
        for side, pixels in zip(sides, parts, strict=True):
            missing |= np.kron((pixels == 0).any(2), np.ones((120 // side, 120 // side), bool))
        valid = classes[(classes > 0) & ~missing.reshape(60, 2, 60, 2).any((1, 3))]
        assert store["nodata_share"][row] == np.float32(missing.mean())
        assert store["cloud_share"][row] == np.float32(np.isin(valid, (3, 8, 9, 10)).mean())
        assert store["snow_share"][row] == np.float32((valid == 11).mean())


def test_upsampled_bands_are_the_same_whatever_the_tile_era_baseline_and_form(tiles):
    rows = [sorted((j, i, row) for row, j, i in cells(tiles.store, spec)) for spec in tiles.specs.values()]
    first = tiles.store["data_super"][[row for _, _, row in rows[0]]]
    assert first.any()
    for others in rows[1:]:
        assert np.array_equal(tiles.store["data_super"][[row for _, _, row in others]], first)


# --- real metadata ----------------------------------------------------------------------------------------------------

SAID = {
    "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857.SAFE": ("02.12", 0),
    "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126.SAFE": ("04.00", -1000),
}
"""Processing baseline and offset of the two real products."""


@pytest.fixture(params=list(SAID))
def real_xml(shared_data, tmp_path, request):
    """A writable copy of a real product's metadata."""
    copy = tmp_path / "tiles" / request.param
    shutil.copytree(shared_data / "safe_xml" / request.param, copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


def listed_images(product):
    """Paths of the images that the product's XML lists, without their suffix, of each band at its own resolution."""
    names = re.findall(r"<IMAGE_FILE>(\S+)</IMAGE_FILE>", (product / "MTD_MSIL2A.xml").read_text())
    wanted = {f"_{band}_{group.gsd_m}m": band for group in GROUPS for band in group.bands} | {"_SCL_20m": "SCL"}
    return {wanted[name[-8:]]: name for name in names if name[-8:] in wanted}


def test_real_metadata_without_images_miss_all_twelve_bands(real_xml):
    with pytest.raises(
        ProductError, match=r"must hold all twelve bands; B02, B03, B04, B08, B05, .* missing below IMG_DATA"
    ):
        read_product(real_xml)


def test_real_metadata_say_baseline_offset_grid_and_files(real_xml):
    images = listed_images(real_xml)
    assert len(images) == 13
    for name in images.values():
        (real_xml / f"{name}.jp2").parent.mkdir(parents=True, exist_ok=True)
        (real_xml / f"{name}.jp2").touch()
    product, (baseline, offset) = read_product(real_xml), SAID[real_xml.name]
    assert product.baseline == baseline
    assert product.quantification == 10_000
    assert product.offsets == {band.name: offset for band in BANDS}
    nominal = nominal_origin(real_xml.name.split("_T")[1][:5])
    assert product.grid == nominal
    assert product.grid.size_px == 10_980
    assert product.files == {band: str(real_xml / f"{name}.jp2") for band, name in images.items()}


def test_a_scene_below_real_metadata_comes_out_bit_for_bit(real_xml, scene, tmp_path):
    """The real metadata with their size changed to the scene's, and the scene's images where they say."""
    tile_metadata = next(real_xml.glob("GRANULE/*/MTD_TL.xml"))
    text = tile_metadata.read_text()
    for group in GROUPS:
        text = text.replace(f">{109_800 // group.gsd_m}<", f">{6_000 // group.gsd_m}<")
    tile_metadata.write_text(text)
    offset, grid = SAID[real_xml.name][1], nominal_origin(real_xml.name.split("_T")[1][:5])
    for band, name in listed_images(real_xml).items():
        if band == "SCL":
            pixels, gsd_m = scene.scl, 20
        else:
            k = next(k for k, group in enumerate(GROUPS) if band in group.bands)
            values = scene.groups[k][..., GROUPS[k].bands.index(band)]
            pixels, gsd_m = to_stored(values, offset), BAND_BY_NAME[band].gsd_m
        path = real_xml / f"{name}.jp2"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_jp2(path, pixels, Georeference(grid.epsg, grid.ulx, grid.uly, gsd_m), BLOCK_PX[gsd_m])
    store = extract(tmp_path, real_xml.parent)
    assert len(store["patch"]) == 25
    for row in range(25):
        j, i = int(grid.uly - store["uly"][row]) // 1200, int(store["ulx"][row] - grid.ulx) // 1200
        sides = [group.patch_px for group in GROUPS]
        parts = [
            pixels[j * s : (j + 1) * s, i * s : (i + 1) * s] for s, pixels in zip(sides, scene.groups, strict=True)
        ]
        assert_same_pixels(store, row, parts)
