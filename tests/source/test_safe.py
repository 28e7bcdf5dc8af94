"""Level-2A products: found wherever they lie, the right one matches, and their metadata is read exactly."""

import random
import re
import shutil
import zipfile
from datetime import datetime

import numpy as np
import pytest
from bad_input import edit
from osgeo import gdal

from etl.bands import BANDS, GROUPS
from etl.grid import PixelWindow, nominal_origin
from etl.input_files import Links
from etl.product_files import ProductError, ProductFiles
from etl.product_metadata import read_product_uri
from etl.raster import Georeference, RasterFile, write_jp2
from etl.sample.pixels import TilePixels
from etl.sample.product import OFFSET, ProductSpec
from etl.sample.safe import write_product, zip_product
from etl.source.block import BlockData
from etl.source.file_checksums import needed_checksums
from etl.source.open_product import read_product
from etl.source.product import ASSUMED_OFFSET, NO_OFFSET
from etl.source.safe import UNUSED_GEOTIFF
from etl.source.tiles import UNUSED_SCL, layers_of
from etl.source.warning import UNPLACED

SENSED = datetime(2017, 6, 13, 10, 10, 31)
NATIVE = {band: group.gsd_m for group in GROUPS for band in group.bands} | {"SCL": 20}


def spec_of(**other):
    said = {"tile": "33UUP", "baseline": "02.05", "generated": datetime(2017, 6, 13, 12), **other}
    return ProductSpec("S2A", SENSED, SENSED, relative_orbit=22, absolute_orbit=10312, **said)


def flat_pixels(px=120):
    """A tile in which each band of each group has a value of its own."""
    arrays = [np.zeros((px // g.factor, px // g.factor, len(g.bands)), np.uint16) for g in GROUPS]
    for k, array in enumerate(arrays):
        array += np.arange(100 * k + 1, 100 * k + 1 + array.shape[2], dtype=np.uint16)
    return TilePixels(*arrays, np.full((px // 2, px // 2), 4, np.uint8))


ERAS = {
    "old form, no offset": {"old_form": True},
    "today's form, no offset": {"baseline": "02.12"},
    "today's form, offset": {"baseline": "04.00", "offsets": OFFSET},
    "an offset of each band's own": {"baseline": "05.10", "offsets": tuple(-1000 - k for k in range(13))},
    "another quantification value": {"quantification": 2000},
    "the southern hemisphere": {"tile": "56HLH"},
}


@pytest.fixture(scope="module", params=list(ERAS))
def era(request, tmp_path_factory):
    """A product of each era, and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("era")
    spec = spec_of(**ERAS[request.param])
    return spec, write_product(folder, spec, flat_pixels())


def deflated(product):
    """The product in a compressed zip file."""
    out = product.parent / "deflated" / f"{product.name}.zip"
    out.parent.mkdir()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(product.rglob("*")):
            archive.write(path, path.relative_to(product.parent))
    return out


def test_what_a_product_says_is_read_in_every_era_and_alike_from_folder_zip_and_compressed_zip(era):
    spec, folder = era
    for path in (folder, zip_product(folder), deflated(folder)):
        product = read_product(path)
        assert product.name == spec.name.removesuffix(".SAFE")
        assert product.baseline == spec.baseline
        assert product.quantification == spec.quantification
        wanted = spec.offsets or (0,) * 13
        assert product.offsets == {band.name: wanted[band.band_id] for band in BANDS}
        nominal = nominal_origin(spec.tile)
        assert (product.grid.epsg, product.grid.ulx, product.grid.uly) == (nominal.epsg, nominal.ulx, nominal.uly)
        assert product.grid.size_px == 120
        assert set(product.files) == set(NATIVE)
        for band, file in product.files.items():
            assert file.endswith(f"/IMG_DATA/R{NATIVE[band]}m/{spec.prefix}_{band}_{NATIVE[band]}m.jp2")
            assert RasterFile(file).shape == (1200 // NATIVE[band],) * 2
        layers = layers_of(product, (0, 1, 1)).layers
        assert [(layer.name, layer.band_count, layer.size_px[0]) for layer in layers] == [
            ("10m", 4, 120), ("20m", 6, 60), ("60m", 2, 20), ("scl", 1, 60)
        ]  # fmt: skip


def test_bands_at_other_resolutions_are_not_read(tmp_path):
    """Real products also hold B02 at 20 m and 60 m, B8A at 60 m, and list them first."""
    product = write_product(tmp_path, spec_of(), flat_pixels())
    text = (product / "MTD_MSIL2A.xml").read_text()
    line = re.search(r"<IMAGE_FILE>\S+_B02_10m</IMAGE_FILE>", text)[0]
    for folder, name in (("R20m", "B02_20m"), ("R60m", "B02_60m"), ("R60m", "B8A_60m")):
        other = line.replace("R10m", folder).replace("B02_10m", name)
        text = text.replace(line, other + line)
        stem = re.sub("<[^>]*>", "", other)
        write_jp2(product / f"{stem}.jp2", np.ones((60, 60), np.uint16), Georeference(32633, 0, 0, 20), 64)
    (product / "MTD_MSIL2A.xml").write_text(text)
    files = read_product(product).files
    assert files["B02"].endswith("R10m/T33UUP_20170613T101031_B02_10m.jp2")
    assert files["B8A"].endswith("R20m/T33UUP_20170613T101031_B8A_20m.jp2")


def test_images_that_the_xml_names_wrongly_are_found_by_the_end_of_their_names(tmp_path):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    path = product / "MTD_MSIL2A.xml"
    path.write_text(path.read_text().replace("IMG_DATA/R10m/T33UUP", "IMG_DATA/R10m/renamed_T33UUP"))
    assert set(read_product(product).files) == set(NATIVE)


@pytest.mark.parametrize("band", ["B02", "B09"])
def test_a_band_that_the_xml_lists_and_nobody_has_is_missed_by_name(tmp_path, band):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    next(product.glob(f"GRANULE/*/IMG_DATA/*/*_{band}_*.jp2")).unlink()
    with pytest.raises(ProductError, match=rf"{product} must hold all twelve bands; {band} missing below IMG_DATA"):
        read_product(product)


def test_an_image_of_another_tile_or_time_is_never_taken_for_a_missing_one(tmp_path):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    path = next(product.glob("GRANULE/*/IMG_DATA/*/*_B02_*.jp2"))
    for other in ("T33UUP_20170623T101031_B02_10m.jp2", "T33UVP_20170613T101031_B02_10m.jp2"):
        path = path.rename(path.with_name(other))
        with pytest.raises(ProductError, match="B02 missing below IMG_DATA"):
            read_product(product)


def test_a_product_without_scene_classification_has_no_layer_for_it(tmp_path):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    next(product.glob("GRANULE/*/IMG_DATA/*/*_SCL_20m.jp2")).unlink()
    assert [layer.name for layer in layers_of(read_product(product), (0, 0, 0)).layers] == ["10m", "20m", "60m"]


def test_a_product_whose_files_are_links_is_read(tmp_path):
    real = write_product(tmp_path / "real", spec_of(), flat_pixels())
    farm = tmp_path / "farm" / real.name
    for path in sorted(real.rglob("*")):
        target = farm / path.relative_to(real)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    assert len(layers_of(read_product(farm, links=Links.into(real)), (0, 1, 1)).layers) == 4
    with pytest.raises(ProductError, match=r"MTD_MSIL2A\.xml, which is missing; 17 not read, .* out of --source"):
        read_product(farm)


def test_a_product_with_a_linked_folder_inside_is_read(tmp_path):
    product = write_product(tmp_path / "tiles", spec_of(), flat_pixels())
    shutil.move(product / "GRANULE", tmp_path / "elsewhere")
    (product / "GRANULE").symlink_to(tmp_path / "elsewhere")
    assert len(layers_of(read_product(product, links=Links.into(tmp_path)), (0, 1, 1)).layers) == 4
    with pytest.raises(ProductError, match=r"GRANULE is a link that leads out of --source, to .*elsewhere"):
        read_product(product)


# --- the one granule that is the product's tile -----------------------------------------------------------------------


def granule_of(product):
    return next(product.glob("GRANULE/*"))


def copy_granule(product, name, ulx_m=0):
    """A second granule with the metadata and images of the first, whose tile begins `ulx_m` further east."""
    first = granule_of(product)
    second = shutil.copytree(first, first.with_name(name))
    text, ulx = (second / "MTD_TL.xml").read_text(), nominal_origin("33UUP").ulx
    (second / "MTD_TL.xml").write_text(text.replace(f"{ulx:.0f}", f"{ulx + ulx_m:.0f}"))
    return second


@pytest.mark.parametrize("name", ["L2A_T33UAA_A000001_20170613T101031", "L2A_T33UZZ_A000001_20170613T101031"])
@pytest.mark.parametrize("packed", [False, True])
def test_of_two_granules_metadata_and_images_are_those_of_the_products_tile(tmp_path, name, packed):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    first = granule_of(product).name
    copy_granule(product, name, ulx_m=99_960)
    product = read_product(zip_product(product) if packed else product)
    assert product.grid.ulx == nominal_origin("33UUP").ulx
    assert all(f"/GRANULE/{first}/IMG_DATA/" in file for file in product.files.values())
    assert len(layers_of(product, (0, 0, 0)).layers) == 4


def test_of_two_granules_of_one_tile_the_one_is_read_whose_images_the_metadata_list(tmp_path):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    first = granule_of(product).name
    copy_granule(product, "L2A_T33UUP_A000001_20170613T111111", ulx_m=1200)
    copy_granule(product, "L2A_T33UUP_A999999_20170613T111111", ulx_m=1200)
    found = read_product(product)
    assert found.grid.ulx == nominal_origin("33UUP").ulx
    assert all(f"/GRANULE/{first}/" in file for file in found.files.values())


def test_several_granules_of_one_tile_of_which_no_single_one_is_listed_are_refused_by_name(tmp_path):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    first, path = granule_of(product).name, product / "MTD_MSIL2A.xml"
    copy_granule(product, "L2A_T33UUP_A000001_20170613T111111")
    path.write_text(path.read_text().replace(f"GRANULE/{first}/", "GRANULE/gone/"))
    names = f"L2A_T33UUP_A000001_20170613T111111, {first}"
    with pytest.raises(ProductError, match=rf"{product} holds 2 granules: {names}; its metadata must list the images "):
        read_product(product)


def test_a_lone_granule_of_another_tile_is_refused_by_name(tmp_path):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    granule_of(product).rename(granule_of(product).with_name("L2A_T33UVP_A010312_20170613T101031"))
    with pytest.raises(ProductError, match=r"must hold the granule of its tile 33UUP, got L2A_T33UVP_A010312_2017"):
        read_product(product)


def test_images_of_another_granule_are_never_taken_for_missing_ones(tmp_path):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    copy_granule(product, "L2A_T33UVP_A010312_20170613T101031")
    next(product.glob("GRANULE/L2A_T33UUP_*/IMG_DATA/*/*_B09_*.jp2")).unlink()
    with pytest.raises(ProductError, match="B09 missing below IMG_DATA"):
        read_product(product)


# --- every file against the metadata ----------------------------------------------------------------------------------


def misplace(product, band, native_m, dtype=np.uint16, **other):
    """Write a band's file again with another georeference."""
    nominal = nominal_origin("33UUP")
    where = {"epsg": nominal.epsg, "ulx": nominal.ulx, "uly": nominal.uly, "gsd_m": native_m, **other}
    path = next(product.glob(f"GRANULE/*/IMG_DATA/*/*_{band}_{native_m}m.jp2"))
    write_jp2(path, np.ones((1200 // native_m,) * 2, dtype), Georeference(**where), 64)


@pytest.mark.parametrize(("band", "gsd_m"), [("B02", 10), ("B08", 10), ("B8A", 20), ("B01", 60)])
@pytest.mark.parametrize(
    ("other", "got"),
    [
        ({"ulx": 399960.0}, "399960, 5400000 in EPSG:32633 "),
        ({"uly": 5_400_030.0}, "300000, 5400030 in EPSG:32633 "),
        ({"epsg": 32733}, "300000, 5400000 in EPSG:32733 "),
        ({"gsd_m": 30}, "300000, 5400000 in EPSG:32633 with pixels of 30 m in "),
    ],
)
def test_a_band_of_another_place_refuses_the_product_and_says_both_places(tmp_path, band, gsd_m, other, got):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    misplace(folder, band, gsd_m, **other)
    wanted = f"band {band} must lie at 300000, 5400000 in EPSG:32633 with pixels of {gsd_m} m, got {got}"
    with pytest.raises(ProductError, match=wanted):
        layers_of(read_product(folder), (0, 1, 1))


UNUSABLE_SCL = {
    "another tile's": lambda folder: misplace(folder, "SCL", 20, np.uint8, ulx=399960.0),
    "of 16 bits": lambda folder: misplace(folder, "SCL", 20),
    "empty": lambda folder: next(folder.glob("GRANULE/*/IMG_DATA/*/*_SCL_20m.jp2")).write_bytes(b""),
    "no image": lambda folder: next(folder.glob("GRANULE/*/IMG_DATA/*/*_SCL_20m.jp2")).write_text("404"),
}


@pytest.mark.parametrize("fault", UNUSABLE_SCL)
def test_a_scene_classification_that_cannot_be_used_is_left_out_with_the_reason(tmp_path, fault):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    UNUSABLE_SCL[fault](folder)
    layers, warnings = layers_of(read_product(folder), (0, 1, 1))
    assert [layer.name for layer in layers] == ["10m", "20m", "60m"]
    assert [(warning.what, warning.times) for warning in warnings] == [(UNUSED_SCL, 1)]
    assert re.match(rf"{folder.stem}: band SCL(:| must) .*_SCL_20m\.jp2", warnings[0].example)


def test_bands_without_georeference_are_read_and_counted_in_one_warning(tmp_path):
    """Bands that a user has converted: their metadata still say where they lie."""
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    for path in folder.glob("GRANULE/*/IMG_DATA/R10m/*.jp2"):
        image = np.zeros((120, 120), np.uint16)
        RasterFile(path).read(PixelWindow(0, 0, 120, 120), image)
        bare = gdal.GetDriverByName("GTiff").Create(str(path.with_suffix(".tif")), 120, 120, 1, gdal.GDT_UInt16)
        bare.WriteArray(image)
        bare.FlushCache()
        path.unlink()
    layers, warnings = layers_of(read_product(folder), (0, 1, 1))
    assert len(layers) == 4
    first = next(folder.glob("GRANULE/*/IMG_DATA/R10m/*_B02_10m.tif"))
    assert warnings == ((UNPLACED, str(first), 4),)


def test_a_band_file_of_several_bands_refuses_the_product(tmp_path):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    path = next(folder.glob("GRANULE/*/IMG_DATA/*/*_B03_10m.jp2"))
    gdal.Translate(str(path.with_suffix(".tif")), str(path), bandList=[1, 1, 1], format="GTiff")
    path.unlink()
    with pytest.raises(ProductError, match=r"band B03 must have one band, got 3 in .*_B03_10m\.tif"):
        layers_of(read_product(folder), (0, 1, 1))


@pytest.mark.parametrize("bands", [("B02",), ("B8A", "SCL")])
@pytest.mark.parametrize("packed", [False, True])
def test_of_a_band_in_both_formats_the_jpeg_2000_file_is_read_and_the_others_counted_in_one_warning(
    tmp_path, bands, packed
):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    wanted = set(read_product(folder).files.values())
    others = [next(folder.glob(f"GRANULE/*/IMG_DATA/*/*_{band}_{NATIVE[band]}m.jp2")) for band in bands]
    for path in others:
        gdal.Translate(str(path.with_suffix(".tif")), str(path), format="GTiff", scaleParams=[[0, 1, 0, 2]])
    assert set(read_product(folder).files.values()) == wanted
    path = zip_product(folder) if packed else folder
    first = others[0].with_suffix(".tif").relative_to(folder)
    assert read_product(path).warnings == ((UNUSED_GEOTIFF, f"{path}: {first}", len(bands)),)
    assert len(needed_checksums(read_product(path))) == 15


@pytest.mark.parametrize("suffix", [".JP2", ".Jp2"])
def test_images_whose_suffix_is_in_upper_case_are_read(tmp_path, suffix):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    wanted = read_product(folder).files
    for path in folder.glob("GRANULE/*/IMG_DATA/*/*.jp2"):
        path.rename(path.with_suffix(suffix))
    product = read_product(folder)
    assert product.files == {band: path.removesuffix(".jp2") + suffix for band, path in wanted.items()}
    layers_of(product, (0, 1, 1))


def test_a_converted_band_alone_is_read_although_another_has_both_files(tmp_path):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    both, alone = (next(folder.glob(f"GRANULE/*/IMG_DATA/R10m/*_{band}_10m.jp2")) for band in ("B02", "B03"))
    for path in (both, alone):
        gdal.Translate(str(path.with_suffix(".tif")), str(path), format="GTiff")
    alone.unlink()
    files = read_product(folder).files
    assert (files["B02"], files["B03"]) == (str(both), str(alone.with_suffix(".tif")))


# --- products without a list of offsets -------------------------------------------------------------------------------


@pytest.mark.parametrize("assumed", [None, -1000])
@pytest.mark.parametrize(
    ("baseline", "wanted"),
    [("02.05", 0), ("03.99", 0), ("04.00", None), ("05.11", None), ("98.99", None), ("99.00", 0), ("99.99", 0)],
)
def test_an_offset_that_is_not_listed_is_0_or_the_assumed_one_or_refuses_the_product(
    tmp_path, baseline, wanted, assumed
):
    folder = write_product(tmp_path, spec_of(baseline=baseline), flat_pixels())
    if wanted is None and assumed is None:
        with pytest.raises(ProductError, match=rf"{folder}.* must list BOA_ADD_OFFSET, as baseline {baseline} is 04"):
            read_product(folder)
        return
    product = read_product(folder, assumed)
    assert set(product.offsets.values()) == {assumed if wanted is None else wanted}
    kinds = {"99": [NO_OFFSET], "02": [], "03": []}.get(baseline[:2], [ASSUMED_OFFSET])
    assert [warning.what for warning in product.warnings] == kinds


def test_a_list_of_offsets_beats_the_assumed_one(tmp_path):
    folder = write_product(tmp_path, spec_of(baseline="99.99", offsets=OFFSET), flat_pixels())
    product = read_product(folder, -500)
    assert set(product.offsets.values()) == {-1000}
    assert product.warnings == ()


@pytest.mark.parametrize("baseline", ["new", "nan", "N0510"])
def test_without_offsets_a_baseline_that_is_no_number_refuses_the_product(tmp_path, baseline):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    path = folder / "MTD_MSIL2A.xml"
    path.write_text(path.read_text().replace(">02.05<", f">{baseline}<"))
    with pytest.raises(ProductError, match=rf"baseline.*{baseline}"):
        read_product(folder)


@pytest.mark.parametrize("offset", [-10_001, 10_001, 10**12])
@pytest.mark.parametrize("band", ["B01", "B8A"])
def test_an_offset_of_more_than_10_000_refuses_the_product_and_names_the_band(tmp_path, offset, band):
    offsets = [-10_000] * 13  # the limit itself is kept
    offsets[next(other.band_id for other in BANDS if other.name == band)] = offset
    folder = write_product(tmp_path, spec_of(baseline="05.10"), flat_pixels())
    listed = "".join(f'<BOA_ADD_OFFSET band_id="{k}">{value}</BOA_ADD_OFFSET>' for k, value in enumerate(offsets))
    edit(folder / "MTD_MSIL2A.xml", "</PROCESSING_BASELINE>", f"</PROCESSING_BASELINE><x>{listed}</x>")
    wanted = rf"must give BOA_ADD_OFFSET in \[-10000, 10000\], got {offset} for {band}"
    with pytest.raises(ProductError, match=wanted):
        read_product(folder)
    edit(folder / "MTD_MSIL2A.xml", f">{offset}<", ">10000<")
    assert sorted(set(read_product(folder).offsets.values())) == [-10_000, 10_000]


@pytest.mark.parametrize("value", ["0", "0.99", "-10000", "65536", "1e12", "inf", "nan"])
def test_a_quantification_value_outside_of_16_bits_refuses_the_product(tmp_path, value):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    path = folder / "MTD_MSIL2A.xml"
    path.write_text(re.sub("(QUANTIFICATION_VALUE[^>]*>)10000<", rf"\g<1>{value}<", path.read_text()))
    with pytest.raises(ProductError, match=r"must give a quantification value in \[1, 65535\], got "):
        read_product(folder)


# --- broken metadata -------------------------------------------------------------------------------------------------


def broken(text, rng):
    """The text with one thing done to it: cut, bytes flipped, a value, an element or an attribute replaced."""
    kind = rng.randrange(5)
    if kind == 0:
        return text[: rng.randrange(len(text))]
    if kind == 1:
        flipped = bytearray(text)
        for _ in range(rng.randrange(1, 6)):
            flipped[rng.randrange(len(flipped))] = rng.randrange(256)
        return bytes(flipped)
    pattern = {2: rb">([^<>\s][^<>]*)<", 3: rb"<(\w+)[ >]", 4: rb'="([^"]*)"'}[kind]
    found = rng.choice(list(re.finditer(pattern, text)))
    values = [b"", b" ", b"x", b"nan", b"inf", b"-1", b"0", b"1e400", b"9" * 30, b"-1000.5", "ü".encode()]
    if kind == 3:
        return text.replace(found[1], b"Other")
    return text[: found.start(1)] + rng.choice(values) + text[found.end(1) :]


def trial(path):
    """What the product says, or why it cannot be used; any other error is raised."""
    try:
        return read_product(path)
    except ProductError as error:
        return error


@pytest.mark.parametrize("name", ["MTD_MSIL2A.xml", "GRANULE/*/MTD_TL.xml"])
def test_whatever_is_wrong_with_a_metadata_file_is_one_kind_of_error_or_none(tmp_path, name):
    folder = write_product(tmp_path, spec_of(baseline="05.10", offsets=OFFSET), flat_pixels())
    path = next(folder.glob(name))
    text, rng, refused = path.read_bytes(), random.Random(2017), 0
    for _ in range(200):
        path.write_bytes(broken(text, rng))
        said = trial(folder)
        assert isinstance(said, ProductError) or 0 < said.quantification < float("inf")
        assert str(folder) in str(said)
        refused += isinstance(said, ProductError)
    assert refused > 50


def test_whatever_is_wrong_with_a_zip_file_is_one_kind_of_error_or_none(tmp_path):
    path = deflated(write_product(tmp_path, spec_of(), flat_pixels()))
    data, rng, refused = path.read_bytes(), random.Random(2017), 0
    for number in range(150):
        damaged = bytearray(data[: rng.randrange(len(data))] if number % 2 else data)
        for _ in range(rng.randrange(1, 40)):
            damaged[rng.randrange(max(0, len(damaged) - 6000), len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        said = trial(path)
        assert str(path) in str(said)
        refused += isinstance(said, ProductError)
    assert refused > 100


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["b/MTD_MSIL2A.xml", "in/a/MTD_MSIL2A.xml", "in/a/GRANULE/x"], "must hold one product, got 2: b, in/a"),
        (["a/GRANULE/x", "b/GRANULE/x"], "must hold one product, got 2: a, b"),
        (["a/x", "b/x"], r"must hold MTD_MSIL2A\.xml, which is missing"),
        (["x"], r"must hold MTD_MSIL2A\.xml, which is missing"),
    ],
)
def test_a_zip_file_or_folder_of_two_products_or_of_none_is_refused(tmp_path, names, wanted):
    path = tmp_path / "product.zip"
    for product in (path, tmp_path / "unpacked"):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, b"")
            archive.extractall(tmp_path / "unpacked")
        with pytest.raises(ProductError, match=f"{product} {wanted}"):
            read_product(product)


# --- the name of another product --------------------------------------------------------------------------------------

OTHERS = {
    "mission": ("S2A", "S2B"),
    "day": ("_20170613T101031_", "_20170623T101031_"),
    "orbit": ("R022", "R065"),
    "tile": ("T33UUP", "T33UVP"),
    "baseline": ("N0205", "N0500"),
    "processing time": ("_20170613T120000", "_20230601T120000"),
}


def nested(product, name):
    (product.parent / name).mkdir()
    return product.rename(product.parent / name / product.name).parent


MISNAMED = {
    "folder": lambda product, name: product.rename(product.with_name(name)),
    "folder without .SAFE": lambda product, name: product.rename(product.with_name(name.removesuffix(".SAFE"))),
    "folder in a folder": nested,
    "zip": lambda product, name: zip_product(product).rename(product.with_name(f"{name}.zip")),
}


@pytest.mark.parametrize("part", OTHERS)
@pytest.mark.parametrize("kind", MISNAMED)
def test_a_product_under_the_name_of_another_is_refused_with_both_names(tmp_path, part, kind):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    assert OTHERS[part][0] in product.name
    other = product.name.replace(*OTHERS[part])
    path = MISNAMED[kind](product, other)
    stem, own = (name.removesuffix(".SAFE") for name in (other, product.name))
    wanted = f"{path} is named {stem}, but its metadata are those of {own}; rename it to {own}, or download {stem} "
    with pytest.raises(ProductError, match=re.escape(wanted)):
        read_product(path)


@pytest.mark.parametrize("name", ["uuid", "S2A_33UUP.SAFE", "S2A_MSIL2A_20170623T101031_N0205_R022_T33UUP_copy.SAFE"])
def test_a_folder_whose_name_is_no_products_is_named_by_its_metadata(tmp_path, name):
    product = write_product(tmp_path, spec_of(), flat_pixels())
    assert read_product(product.rename(tmp_path / name)).name == product.stem


@pytest.mark.parametrize(
    "uri", ["", "mine", "S2A_OPER_PRD_MSIL2A_PDMC_20180101T202002_R022_V20170613T101031_20170613T101031"]
)
def test_metadata_that_do_not_contradict_the_name_leave_it_to_the_folder(tmp_path, uri):
    """Without a product's name, or in the old form, which has neither tile nor baseline."""
    product = write_product(tmp_path, spec_of(), flat_pixels())
    edit(product / "MTD_MSIL2A.xml", f"<PRODUCT_URI>{product.name}<", f"<PRODUCT_URI>{uri}<")
    assert read_product(product).name == product.stem


# --- copies of the metadata file --------------------------------------------------------------------------------------

COPIES = ["MTD_MSIL2A (1).xml", "MTD_MSIL2A - Copy.xml", "MTD_MSIL2A.bak.xml", "mtd_msil2a.xml", "MTD_MSIL2A.XML"]


@pytest.mark.parametrize("copy", COPIES)
@pytest.mark.parametrize("packed", [False, True])
def test_the_metadata_file_of_the_exact_name_is_read_and_checked_beside_a_copy_of_it(tmp_path, copy, packed):
    folder = write_product(tmp_path, spec_of(baseline="05.10", offsets=OFFSET), flat_pixels())
    text = (folder / "MTD_MSIL2A.xml").read_text()
    (folder / copy).write_text(text.replace(">05.10<", ">02.05<").replace("T33UUP", "T33UVP"))
    path = zip_product(folder) if packed else folder
    product = read_product(path)
    assert product.baseline == "05.10"
    assert read_product_uri(ProductFiles(path)) == folder.name
    metadata = {file.name for file in needed_checksums(product) if file.name.startswith("MTD")}
    assert metadata == {"MTD_MSIL2A.xml"}


def test_of_metadata_files_with_other_names_a_single_one_is_read_and_several_are_refused_by_name(tmp_path):
    folder = write_product(tmp_path, spec_of(), flat_pixels())
    (folder / "MTD_MSIL2A.xml").rename(folder / "MTD_MSIL2A (1).xml")
    assert read_product(folder).baseline == "02.05"
    shutil.copy(folder / "MTD_MSIL2A (1).xml", folder / "MTD_MSIL2A.bak.xml")
    wanted = re.escape("must hold one metadata file, got MTD_MSIL2A (1).xml, MTD_MSIL2A.bak.xml; name the product's ")
    with pytest.raises(ProductError, match=wanted):
        read_product(folder)
    with pytest.raises(ProductError, match=wanted):
        read_product_uri(ProductFiles(folder))


# --- why a block could not be decoded --------------------------------------------------------------------------------


def test_the_reason_of_a_block_travels_with_it_and_of_a_long_one_the_end_is_kept(tmp_path):
    (layer, *_) = layers_of(read_product(write_product(tmp_path, spec_of(), flat_pixels())), (0, 0, 0)).layers
    for reason in ("x", "Größe", "/long" * 100 + " is broken at row 0", "/longer" * 1000 + " is broken at row 0"):
        sent, got = BlockData(layer, 0), BlockData(layer, 0)
        assert sent.problem == ""
        sent.fail(reason)
        got.message[:] = sent.message
        assert got.problem == reason if len(reason) < 2000 else got.problem.endswith("longer is broken at row 0")
