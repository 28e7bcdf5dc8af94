"""Image files as patches: what most files are decides, and each other file is the loss of one patch."""

import struct
import zlib

import numpy as np
import pytest
from osgeo import gdal
from PIL import Image

from etl.pixel_groups import PixelGroup
from etl.raster import Georeference, RasterError, RasterFile, configure, write_geotiff
from etl.source.images import ImagePatches, PlacedImage, detect_group
from etl.source.patch import PatchError, pixel_shares

configure()


def put(path, shape=(2, 8, 8), dtype=np.uint16, nodata=None, place=None):
    write_geotiff(path, np.arange(np.prod(shape)).reshape(shape).astype(dtype), place, nodata)
    return path


def read(path, group, *place):
    (patch,) = ImagePatches([0], [PlacedImage(path, *place)], group).patches()
    if isinstance(patch.patch, PatchError):
        raise patch.patch
    return patch.patch.native[0]


def test_size_type_and_bands_are_those_of_most_files(tmp_path):
    paths = [put(tmp_path / "odd.tif", (2, 8, 9)), tmp_path / "absent.tif"]
    paths += [put(tmp_path / f"{k}.tif", (3, 8, 6), np.uint8) for k in range(2)]
    group = detect_group(paths)
    assert group == PixelGroup.of_images((8, 6), ("R", "G", "B"), "uint8", None)
    assert np.array_equal(read(paths[2], group), np.arange(144).reshape(3, 8, 6))


def test_bands_can_be_named_and_nodata_is_only_what_files_state(tmp_path):
    group = detect_group([put(tmp_path / "1.tif", nodata=7)], ("B02", "B03"))
    assert (group.bands, group.nodata, group.attributes["nodata"].dtype) == (("B02", "B03"), 7, np.uint16)
    assert detect_group([put(tmp_path / "2.tif")]).bands == ("band_1", "band_2")
    with pytest.raises(ValueError, match="--bands must name 2 different bands, got B02"):
        detect_group([tmp_path / "1.tif"], ("B02",))


def put_named(path, names, colours=(), seed=0):
    pixels = np.random.default_rng(seed).integers(1, 9000, (len(names), 8, 8)).astype(np.uint16)
    put(path, pixels.shape)
    file = gdal.Open(str(path), gdal.GA_Update)
    file.WriteArray(pixels)
    for k, name in enumerate(names):
        file.GetRasterBand(k + 1).SetDescription(name)
    for k, colour in enumerate(colours):
        file.GetRasterBand(k + 1).SetColorInterpretation(colour)
    return path, dict(zip(names, pixels, strict=True))


RGB = (gdal.GCI_RedBand, gdal.GCI_GreenBand, gdal.GCI_BlueBand)


@pytest.mark.parametrize("named", [(), ("x", "y", "z")])
def test_bands_described_in_another_order_are_read_in_that_of_most_files(tmp_path, named):
    orders = [("B04", "B03", "B02"), ("B02", "B03", "B04"), ("B02", "B03", "B04"), ("", "", "")]
    files = [put_named(tmp_path / f"{k}.tif", order) for k, order in enumerate(orders)]
    group = detect_group((path for path, _ in files), named)
    assert group.bands == (named or ("B02", "B03", "B04"))
    assert group.bands_in_files == ("B02", "B03", "B04")
    for path, pixels in files[:3]:
        assert np.array_equal(read(path, group), [pixels[name] for name in ("B02", "B03", "B04")])
    read(files[3][0], group)


def test_bands_that_are_described_as_others_are_rejected_unless_the_user_names_them(tmp_path):
    paths = [put_named(tmp_path / f"{k}.tif", ("B02", "B03"))[0] for k in range(2)]
    paths += [put_named(tmp_path / "odd.tif", ("B02", "B08"))[0]]
    with pytest.raises(PatchError, match=r"odd\.tif must have the bands B02, B03, got B02, B08; if only the names"):
        read(paths[2], detect_group(paths))
    assert read(paths[2], detect_group(paths, ("a", "b"))).shape == (2, 8, 8)
    undescribed = detect_group([put(tmp_path / f"{k}.tif") for k in range(2)])
    assert read(paths[2], undescribed).shape == (2, 8, 8)


def test_colours_in_another_order_are_read_in_that_of_most_files(tmp_path):
    first, _ = put_named(tmp_path / "1.tif", ("", "", ""), RGB)
    turned, _ = put_named(tmp_path / "2.tif", ("", "", ""), RGB[::-1])
    group = detect_group([first, turned])
    assert group.bands == ("R", "G", "B")
    assert np.array_equal(read(turned, group), read(first, group)[::-1])


def test_no_readable_file_is_an_error_that_names_the_first(tmp_path):
    with pytest.raises(ValueError, match=r"no file of the catalogue can be read; the first: .*1\.tif cannot be opened"):
        detect_group([tmp_path / "1.tif", tmp_path / "2.tif"])


@pytest.mark.parametrize(
    ("how", "got"),
    [
        ({"shape": (2, 8, 9)}, "8 x 9 pixels of uint16 in 2 bands, no nodata value"),
        ({"shape": (1, 8, 8)}, "8 x 8 pixels of uint16 in 1 band, no nodata value"),
        ({"dtype": np.uint8}, "8 x 8 pixels of uint8 in 2 bands, no nodata value"),
        ({"nodata": 3}, "8 x 8 pixels of uint16 in 2 bands, nodata value 3"),
    ],
)
def test_a_file_that_is_not_like_most_is_rejected_with_what_it_is(tmp_path, how, got):
    group = detect_group([put(tmp_path / "good.tif")])
    wanted = "must be 8 x 8 pixels of uint16 in 2 bands, no nodata value, as most files are"
    with pytest.raises(PatchError, match=rf"odd\.tif {wanted}, got {got}"):
        read(put(tmp_path / "odd.tif", **how), group)


@pytest.mark.parametrize(
    ("place", "wanted"),
    [
        ((32634, 4e5, 5e6), "400000, 5000000 in EPSG:32634"),
        ((32633, 4e5 + 160, 5e6), "400160, 5000000 in EPSG:32633"),
        ((32633, 4e5, 5e6 - 5), "400000, 4999995 in EPSG:32633"),
        ((0, 4e5 + 160, 5e6), "400160, 5000000 in any projection"),
        ((32634,), "nan, nan in EPSG:32634"),
    ],
)
def test_a_file_that_lies_elsewhere_than_the_catalogue_says_is_rejected_with_both_places(tmp_path, place, wanted):
    path = put(tmp_path / "1.tif", place=Georeference(32633, 4e5, 5e6, 10))
    with pytest.raises(
        PatchError, match=rf"must lie at {wanted}, as in the catalogue, got 400000, 5000000 in EPSG:32633"
    ):
        read(path, detect_group([path]), *place)


def test_a_place_is_compared_only_where_both_have_it_and_one_only_in_the_file_is_told(tmp_path):
    placed = put(tmp_path / "1.tif", place=Georeference(32633, 4e5, 5e6, 10))
    unplaced = put(tmp_path / "2.tif")
    group = detect_group([placed, unplaced])
    for place in ((32633, 4e5, 5e6), (32633, 4e5 + 3, 5e6), (32633,), (0, 4e5, 5e6)):
        read(placed, group, *place)
    read(unplaced, group, 32633, 4e5, 5e6)
    files = [PlacedImage(placed), PlacedImage(placed), PlacedImage(unplaced), PlacedImage(placed, 32633, 4e5, 5e6)]
    source = ImagePatches(range(4), files, group)
    assert not any(isinstance(patch.patch, PatchError) for patch in source.patches())
    ((what, example, times),) = source.warnings
    assert "their places stay unknown in the store" in what
    assert (example, times) == (str(placed), 2)


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg"])
def test_a_truncated_file_is_rejected_and_never_read_in_part(tmp_path, suffix):
    path, rng = tmp_path / f"image{suffix}", np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    group, whole = detect_group([path]), path.read_bytes()
    assert (group.bands, read(path, group).shape) == (("R", "G", "B"), (3, 64, 64))
    for share in (0.0, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(PatchError, match=rf"image\{suffix} "):
            read(path, group)


@pytest.fixture(params=["1", "4"])
def decode_threads(request):
    before = gdal.GetConfigOption("GDAL_NUM_THREADS")
    gdal.SetConfigOption("GDAL_NUM_THREADS", request.param)
    yield
    gdal.SetConfigOption("GDAL_NUM_THREADS", before)


@pytest.mark.usefixtures("decode_threads")
@pytest.mark.parametrize("options", [("PHOTOMETRIC=YCBCR", "INTERLEAVE=PIXEL"), ("TILED=YES", "BLOCKXSIZE=32")])
def test_what_the_decoder_says_of_jpeg_inside_a_tiff_rejects_it(tmp_path, options):
    plain, path = put(tmp_path / "plain.tif", (3, 64, 64), np.uint8), tmp_path / "jpeg.tif"
    tiled = ("BLOCKYSIZE=32",) * ("TILED=YES" in options)
    gdal.Translate(str(path), str(plain), creationOptions=["COMPRESS=JPEG", *options, *tiled])
    group = detect_group([path])
    read(path, group)
    damaged = bytearray(path.read_bytes())
    damaged[-40:-20] = bytes(20)
    path.write_bytes(damaged)
    with pytest.raises(PatchError, match=r"jpeg\.tif is broken at row 0, column 0: JPEGLib:Corrupt JPEG data"):
        read(path, group)


def test_indices_into_a_table_of_colours_are_no_pixels(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert("P").save(tmp_path / "1.png")
    with pytest.raises(ValueError, match="indices into a colour table; convert it with gdal_translate -expand rgb"):
        detect_group([tmp_path / "1.png"])


def test_shares_and_rejection_follow_the_nodata_value_of_the_files():
    planes = np.full((2, 4, 4), 9, np.uint8)
    planes[0, 0], planes[:, 1] = 255, 0
    assert pixel_shares([planes], None, 255).nodata == 0.25
    assert pixel_shares([planes], None, 0).nodata == 0.25
    assert pixel_shares([planes], None, None).nodata == 0.0


@pytest.mark.parametrize("suffix", ["tif", "png", "bmp"])
def test_a_header_that_claims_a_huge_image_is_no_patch(tmp_path, suffix):
    path, side = tmp_path / f"a.{suffix}", 60_000
    if suffix == "tif":
        options = ["SPARSE_OK=YES", "TILED=YES", "BIGTIFF=YES"]
        gdal.GetDriverByName("GTiff").Create(str(path), side, side, 3, gdal.GDT_Byte, options).FlushCache()
    else:
        Image.new("RGB", (8, 8)).save(path)
        data, at = bytearray(path.read_bytes()), {"png": 16, "bmp": 18}[suffix]
        data[at : at + 8] = struct.pack({"png": ">II", "bmp": "<II"}[suffix], side, side)
        if suffix == "png":  # with the checksum of the changed header
            data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)
    assert path.stat().st_size < 1 << 20 or suffix == "tif"
    with pytest.raises(ValueError, match=r"at most 1073741824 bytes of pixels, got 10800000000|cannot be opened"):
        detect_group([path])
    group = detect_group([put(tmp_path / "good.tif", (3, 8, 8), np.uint8)])
    with pytest.raises(PatchError, match=r"must be 8 x 8 pixels of uint8 .*, got 60000 x 60000|cannot be opened"):
        read(path, group)


@pytest.mark.parametrize(
    ("side", "options", "bands", "wanted"),
    [
        (1_200_000, ["TILED=YES"], 1, "must have at most 65535 rows and columns, got 1200000 x 1200000"),
        (
            40_000,
            ["TILED=YES", "BLOCKXSIZE=32768", "BLOCKYSIZE=32768"],
            1,
            "blocks of at most 536870912 bytes, got 107",
        ),
        (8, [], 2000, "must have at most 1024 bands, got 2000"),
    ],
)
def test_a_geotiff_that_claims_too_much_is_refused_by_what_it_claims(tmp_path, side, options, bands, wanted):
    path = tmp_path / "a.tif"
    options = ["SPARSE_OK=YES", "BIGTIFF=YES", *options]
    gdal.GetDriverByName("GTiff").Create(str(path), side, side, bands, gdal.GDT_Byte, options).FlushCache()
    with pytest.raises(RasterError, match=wanted):
        RasterFile(path)
