"""Products in EOPF's Zarr format: the same metadata and pixels as in SAFE, and what is wrong with one is told."""

import gzip
import json
import shutil
import zipfile
from datetime import datetime

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import Zstd

from benchmarks.eopf_products import write_eopf, zipped
from etl.bands import BANDS, GROUPS
from etl.catalogue.finder import find_products
from etl.grid import PixelWindow
from etl.input_files import Links
from etl.packed_files import files_in
from etl.product_files import ProductError
from etl.raster import RasterError, RasterFile
from etl.sample.pixels import TilePixels
from etl.sample.product import OFFSET, ProductSpec
from etl.sample.safe import write_product
from etl.source.content import read_files
from etl.source.open_product import open_band, read_product
from etl.source.tiles import ABSENT_CHUNKS, UNUSED_SCL, layers_of

PX = 360
SENSED = datetime(2017, 6, 13, 10, 10, 31)
B02 = "measurements/reflectance/r10m/b02"
SCL = "conditions/mask/l2a_classification/r20m/scl"


def spec_of(**other):
    said = {"tile": "33UUP", "baseline": "05.10", "generated": datetime(2017, 6, 13, 12), "offsets": OFFSET, **other}
    return ProductSpec("S2A", SENSED, SENSED, relative_orbit=22, absolute_orbit=10312, **said)


def random_pixels(px=PX):
    numbers = np.random.default_rng(0)
    arrays = [
        numbers.integers(0, 9000, (px // g.factor, px // g.factor, len(g.bands))).astype(np.uint16) for g in GROUPS
    ]
    return TilePixels(*arrays, numbers.integers(0, 12, (px // 2, px // 2)).astype(np.uint8))


ERAS = {
    "no offset": {"baseline": "02.12", "offsets": ()},
    "offset": {},
    "an offset of each band's own": {"offsets": tuple(-1000 - k for k in range(13))},
    "another quantification value": {"quantification": 2000, "baseline": "02.12", "offsets": ()},
    "the southern hemisphere": {"tile": "56HLH"},
}


@pytest.fixture(scope="module", params=list(ERAS))
def era(request, tmp_path_factory):
    """A product of each era in SAFE, and the same in Zarr of both formats."""
    folder = tmp_path_factory.mktemp("era")
    safe = write_product(folder, spec_of(**ERAS[request.param]), random_pixels())
    return safe, {number: write_eopf(safe, folder / f"v{number}", number) for number in (2, 3)}


@pytest.mark.parametrize("number", [2, 3])
def test_metadata_are_those_of_the_product_in_safe(era, number):
    safe, zarrs = era
    expected, product = read_product(safe), read_product(zarrs[number])
    for name in ("name", "baseline", "grid", "offsets", "quantification"):
        assert getattr(product, name) == getattr(expected, name), name
    assert set(product.files) == {band.name for band in BANDS} | {"SCL"}
    layers, warnings = layers_of(product, (0, 1, 1))
    assert [layer.size_px for layer in layers] == [(PX, PX), (PX // 2,) * 2, (PX // 6,) * 2, (PX // 2,) * 2]
    assert not warnings


@pytest.fixture(scope="module")
def safe(tmp_path_factory):
    """A product in SAFE."""
    return write_product(tmp_path_factory.mktemp("safe"), spec_of(), random_pixels())


@pytest.fixture(scope="module")
def pixels(safe):
    """Its pixels by band, as its files hold them."""
    product, pixels = read_product(safe), {}
    for band, path in product.files.items():
        file = RasterFile(path)
        pixels[band] = np.empty(file.shape, np.uint16)
        file.read(PixelWindow(0, 0, *file.shape), pixels[band])
    return pixels


@pytest.fixture
def product(safe, tmp_path):
    """The same in Zarr format 2, to be changed."""
    return write_eopf(safe, tmp_path)


CODECS = {
    "blosc, format 2": (2, None),
    "blosc, format 3": (3, None),
    "zstd": (3, zarr.codecs.ZstdCodec(level=1)),
    "zstd, format 2": (2, Zstd(level=1)),
    "none, format 2": (2, ()),
    "none, format 3": (3, ()),
}


@pytest.fixture(scope="module", params=list(CODECS))
def coded(request, safe, tmp_path_factory):
    """The product in Zarr, in one codec."""
    number, codec = CODECS[request.param]
    return read_product(write_eopf(safe, tmp_path_factory.mktemp("coded"), number, codec=codec))


@given(data=st.data())
def test_any_window_is_that_of_the_product_in_safe(coded, pixels, data):
    band = data.draw(st.sampled_from(["B02", "B05", "B09", "SCL"]))
    side = len(pixels[band])
    row, col = data.draw(st.integers(0, side - 1)), data.draw(st.integers(0, side - 1))
    height, width = data.draw(st.integers(1, side - row)), data.draw(st.integers(1, side - col))
    out = np.zeros((height, width), np.uint16)
    open_band(coded, band).read(PixelWindow(row, col, height, width), out)
    assert np.array_equal(out, pixels[band][row : row + height, col : col + width])


REFUSED = {
    "another compressor": (lambda m: m["compressor"].update(id="gzip"), "got gzip"),
    "one that runs code": (lambda m: m.update(compressor={"id": "pickle"}), "got pickle"),
    "a filter": (lambda m: m.update(filters=[{"id": "delta", "dtype": "<u2"}]), "got delta"),
    "columns first": (lambda m: m.update(order="F"), "got order F"),
    "big-endian": (lambda m: m.update(dtype=">u2"), "got big-endian pixels"),
    "pixels as chunks": (lambda m: m.update(chunks=[1, 1]), "must have at most 4096 chunks"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_codecs_and_orders_are_refused(product, name):
    change, message = REFUSED[name]
    edit(product, lambda metadata: change(metadata[f"{B02}/.zarray"]))
    with pytest.raises(ProductError, match=message):
        layers_of(read_product(product), (0, 1, 1))


@pytest.mark.parametrize(
    "codecs",
    [
        [{"name": "sharding_indexed", "configuration": {"chunk_shape": [60, 60], "codecs": []}}],
        [{"name": "bytes", "configuration": {"endian": "big"}}],
        [{"name": "numcodecs.pickle"}],
    ],
)
def test_other_codecs_of_format_3_are_refused(safe, tmp_path, codecs):
    folder = write_eopf(safe, tmp_path, 3)
    document = json.loads((folder / "zarr.json").read_text())
    document["consolidated_metadata"]["metadata"][B02]["codecs"] = codecs
    (folder / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(ProductError, match="compressed by Blosc, Zstandard or not at all, got"):
        layers_of(read_product(folder), (0, 1, 1))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes(100),
        Zstd().encode(bytes(10)),  # of another size
        b"\x28\xb5\x2f\xfd\xc0" + b"\0" + (1 << 50).to_bytes(8, "little") + bytes(20),
        Zstd().encode(bytes(180 * 180 * 2))[:-4],
    ],
)
def test_a_broken_chunk_in_zstandard_is_told(safe, tmp_path, content):
    folder = write_eopf(safe, tmp_path, 3, codec=zarr.codecs.ZstdCodec(level=1))
    (folder / B02 / "c" / "0" / "0").write_bytes(content)
    with pytest.raises(RasterError, match="is broken at row 0, column 0"):
        open_band(read_product(folder), "B02").read(PixelWindow(0, 0, 9, 9), np.empty((9, 9), np.uint16))


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_files_are_read_as_they_are(product, pixels, compression):
    path = zipped(product, compression)
    found = find_products(path.parent).products
    assert [item.path for item in found] == [path]
    opened, out = read_product(path), np.empty((PX, PX), np.uint16)
    open_band(opened, "B02").read(PixelWindow(0, 0, PX, PX), out)
    assert np.array_equal(out, pixels["B02"])


def test_a_zip_file_whose_list_is_wrong_is_told(product):
    path = zipped(product)
    with zipfile.ZipFile(path) as archive:
        at = archive.getinfo(f"{B02}/0.0").header_offset
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(RasterError, match="does not begin where the list of files says"):
        open_band(read_product(path), "B02").read(PixelWindow(0, 0, 1, 1), np.empty((1, 1), np.uint16))


def test_products_are_found_whatever_their_names(safe, tmp_path):
    top = tmp_path / "source"
    named = write_eopf(safe, top / "a")
    renamed = write_eopf(safe, top / "b")
    renamed = renamed.rename(renamed.with_name("my product"))
    (top / "c").mkdir()
    inner = write_eopf(safe, top / "c")
    outer = inner.with_name("package.zip")
    with zipfile.ZipFile(outer, "w") as archive:
        for file in inner.rglob("*"):
            archive.write(file, file.relative_to(inner.parent))
    shutil.rmtree(inner)
    found = find_products(top)
    assert [item.path for item in found.products] == [named, renamed, outer]
    assert {item.stem for item in found.products} == {named.stem}
    assert [item.path for item in find_products(named).products] == [named]


def test_a_store_of_this_project_beside_products_is_no_product(product):
    store = product.parent / "store.zarr"
    zarr.create_group(store).create_array("data_10m", shape=(1,), dtype="u2")
    found = find_products(product.parent)
    assert [item.path for item in found.products] == [product]
    assert not found.passed_over


def edit(folder, change, name=".zmetadata"):
    document = json.loads((folder / name).read_text())
    change(document["metadata"])
    (folder / name).write_text(json.dumps(document))


def attributes(metadata, band=B02):
    return metadata[f"{band}/.zattrs"]


def properties(metadata):
    return metadata[".zattrs"]["stac_discovery"]["properties"]


BROKEN = {
    "no baseline": (lambda m: properties(m).pop("eopf:baseline"), "must give the processing baseline"),
    "a baseline in words": (lambda m: properties(m).update({"eopf:baseline": "new"}), "must give the processing base"),
    "no name": (lambda m: m[".zattrs"]["stac_discovery"].update(id=7), None),
    "another name": (
        lambda m: m[".zattrs"]["stac_discovery"].update(
            id="S2A_MSIL2A_20170613T101031_N0510_R022_T33UUQ_20170613T120000.SAFE"
        ),
        "its metadata are those of",
    ),
    "a band missing": (
        lambda m: m.pop(f"{B02.replace('10m/b02', '20m/b8a')}/.zarray"),
        "all twelve bands; B8A missing",
    ),
    "no scale": (lambda m: attributes(m).pop("scale_factor"), "must give scale_factor, which is missing"),
    "a scale in words": (lambda m: attributes(m).update(scale_factor="small"), "scale_factor must be a number"),
    "a scale of 0": (lambda m: attributes(m).update(scale_factor=0), "scale_factor must lie in"),
    "a scale that is nan": (lambda m: attributes(m).update(scale_factor=float("nan")), "scale_factor must lie in"),
    "two scales": (lambda m: attributes(m).update(scale_factor=0.001), "one scale_factor for all bands"),
    "an offset between counts": (lambda m: attributes(m).update(add_offset=-0.10005), "must be whole counts"),
    "an offset of 400 digits": (lambda m: attributes(m).update(add_offset=10**399), "must be a number|must lie in"),
    "one offset missing": (lambda m: attributes(m).pop("add_offset"), "for some bands but not for B02"),
    "no place": (
        lambda m: attributes(m).pop("proj:transform"),
        "must have two axes, and the attributes proj:transform",
    ),
    "a place of two numbers": (lambda m: attributes(m).update({"proj:transform": [1, 2]}), "6 or 9 numbers"),
    "EPSG of 20": (lambda m: attributes(m).update({"proj:epsg": 20}), "EPSG code must lie in"),
    "three axes": (lambda m: m[f"{B02}/.zarray"].update(shape=[1, 360, 360]), "must have two axes"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_metadata_are_told(product, name):
    change, message = BROKEN[name]
    edit(product, change)
    if message is None:  # its folder has a name
        assert read_product(product).name == product.stem
        return
    with pytest.raises(ProductError, match=message) as caught:
        read_product(product)
    assert str(product) in str(caught.value)


OTHER = {
    "a band that lies elsewhere": (
        lambda m: attributes(m, B02.replace("b02", "b03")).update({"proj:transform": [10, 0, 0, 0, -10, 0]}),
        "band B03 must lie at",
    ),
    "another type": (lambda m: m[f"{B02}/.zarray"].update(dtype="<f4"), "pixels of UInt16, got .* of float32"),
    "another fill value": (lambda m: m[f"{B02}/.zarray"].update(fill_value=7), "must have the fill value 0, got 7"),
    "an unknown codec": (
        lambda m: m[f"{B02}/.zarray"]["compressor"].update(id="magic"),
        "band B02: .* cannot be opened",
    ),
    "a chunk of the size of a continent": (
        lambda m: m[f"{B02}/.zarray"].update(chunks=[60_000, 60_000]),
        "must have blocks of at most",
    ),
    "a chunk of no size": (lambda m: m[f"{B02}/.zarray"].update(chunks=[0, 0]), "at least one pixel, got 0 x 0"),
}


@pytest.mark.parametrize("name", OTHER)
def test_broken_arrays_are_told(product, name):
    change, message = OTHER[name]
    edit(product, change)
    with pytest.raises(ProductError, match=message):
        layers_of(read_product(product), (0, 1, 1))


def test_a_product_without_offsets_needs_an_assumed_one(product):
    def drop(metadata):
        for name, content in metadata.items():
            if name.endswith(".zattrs"):
                content.pop("add_offset", None)

    edit(product, drop)
    with pytest.raises(ProductError, match="--assume-offset"):
        read_product(product)
    assert read_product(product, -1000).offsets == {band.name: -1000 for band in BANDS}


def test_a_broken_scene_classification_is_left_out(product):
    edit(product, lambda m: m[f"{SCL}/.zarray"].update(dtype="<u2"))
    layers, warnings = layers_of(read_product(product), (0, 1, 1))
    assert len(layers) == 3
    assert [warning.what for warning in warnings] == [UNUSED_SCL]


def test_metadata_that_are_not_consolidated_are_read_beside_each_array(product, safe):
    (product / ".zmetadata").unlink()
    assert read_product(product).offsets == read_product(safe).offsets


@pytest.mark.parametrize("text", ["", "[]", "{" * 10_000, "\0"])
def test_metadata_that_are_no_json_are_told(product, text):
    (product / ".zmetadata").write_text(text)
    with pytest.raises(ProductError, match=r"must be JSON|must hold a JSON object"):
        read_product(product)


def test_a_chunk_without_a_file_has_no_data_and_is_told(product):
    (product / B02 / "0.1").unlink()
    opened = read_product(product)
    assert [warning.what for warning in layers_of(opened, (0, 1, 1)).warnings] == [ABSENT_CHUNKS]
    out = np.ones((PX, PX), np.uint16)
    open_band(opened, "B02").read(PixelWindow(0, 0, PX, PX), out)
    assert not out[:180, 180:].any()
    assert out[:180, :180].any()


@pytest.mark.parametrize("keep", [0, 10, 100, 5000])
def test_a_chunk_that_is_cut_is_told_where_it_is_read(product, keep):
    chunk = product / B02 / "1.0"
    chunk.write_bytes(chunk.read_bytes()[:keep])
    file, out = open_band(read_product(product), "B02"), np.empty((60, 60), np.uint16)
    file.read(PixelWindow(0, 0, 60, 60), out)  # of another chunk
    with pytest.raises(RasterError, match=r"b02 is broken at row 180, column 0: it"):
        file.read(PixelWindow(180, 0, 60, 60), out)


def test_a_link_out_of_the_source_is_not_followed(product, tmp_path):
    chunk, elsewhere = product / B02 / "0.0", tmp_path.parent / f"{tmp_path.name}-elsewhere"
    shutil.move(chunk, elsewhere)
    chunk.symlink_to(elsewhere)
    opened = read_product(product)
    with pytest.raises(ProductError, match=r"leads out of --source"):
        layers_of(opened, (0, 1, 1))
    assert not layers_of(read_product(product, links=Links.into(elsewhere)), (0, 1, 1)).warnings


def test_the_journal_gets_each_chunk(product):
    files = read_files(read_product(product), sampled=True)
    assert len(files) == (4 * 4 + 6 + 2 + 1) + 13 * 2 + 3  # chunks, .zarray and .zattrs of each band, and of the whole
    assert {"B02/0.0", "B02/1.1", "B05/0.0", "B09/0.0", "SCL/0.0", ".zmetadata"} <= {file.holds for file in files}
    assert all(file.content.size_bytes and file.content.digests for file in files)


def test_ranges_of_files_in_folders_and_zip_files(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x").write_bytes(bytes(range(100)))
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / f"{compression}.zip", "w", compression) as archive:
            archive.write(folder / "x", "x")
    for path in (folder, *tmp_path.glob("*.zip")):
        file = files_in(path, Links.into(tmp_path)).open_ranges("x")
        assert file.size_bytes == 100
        wanted = [bytes(range(10, 15)), bytes(range(95, 100)), b""]
        assert [file.read(10, 5), file.read(95, 20), file.read(200, 5)] == wanted


@pytest.mark.parametrize("tile", ["T32TQM", "T29TPF"])
def test_metadata_of_published_products(shared_data, tmp_path, tile):
    source = next((shared_data / "eopf").glob(f"*{tile}*.json.gz"))
    name = source.name.removesuffix(".json.gz")
    with gzip.open(source) as file:
        tree = json.load(file)
    folder = tmp_path / f"{name}.zarr"
    put_metadata(tree, folder)
    product = read_product(folder)
    assert (product.name, product.baseline, product.quantification) == (name, "05.11", 10_000)
    assert set(product.offsets.values()) == {-1000}
    assert product.grid.size_px == 10_980
    layers, warnings = layers_of(product, (0, 1, 1))
    assert [layer.block_px for layer in layers] == [(610, 5490), (610, 5490), (610, 1830), (610, 5490)]
    assert {warning.what: warning.times for warning in warnings} == {ABSENT_CHUNKS: 13}


def put_metadata(node, folder):
    """Write the metadata files of a group and all that it holds, of Zarr format 2."""
    folder.mkdir()
    (folder / ".zattrs").write_text(json.dumps(node["attributes"]))
    if "shape" in node:
        array = {key: value for key, value in node.items() if key not in ("attributes", "members")}
        (folder / ".zarray").write_text(json.dumps(array))
    else:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
    for name, member in node.get("members", {}).items():
        put_metadata(member, folder / name)
