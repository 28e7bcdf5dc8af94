"""Checksums of a product's files: read as ESA writes them, compared, and held against damage alone."""

import hashlib
import re
import shutil
import zipfile

import pytest
from bad_input import edit, image, product_of, random_pixels
from mpi4py import MPI

from etl.sample.safe import write_product, zip_product
from etl.source.file_checksums import needed_checksums
from etl.source.inspection import compare_files, describe_checks
from etl.source.open_product import read_product

REAL_PRODUCTS = {"S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857.SAFE": 15,
                 "S2B_MSIL2A_20220413T150759_N0400_R025_T33XWJ_20220414T082126.SAFE": 15}  # fmt: skip


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    return write_product(tmp_path_factory.mktemp("product"), product_of(1), random_pixels(1, 120))


@pytest.fixture
def product(master, tmp_path):
    """A copy of a small product, to be damaged."""
    return shutil.copytree(master, tmp_path / master.name)


def flip_bit(path, at=-700):
    data = bytearray(path.read_bytes())
    data[at] ^= 16
    path.write_bytes(data)


def zero_4_kib(path, at):
    data = bytearray(path.read_bytes())
    data[at : at + 4096] = bytes(len(data[at : at + 4096]))
    path.write_bytes(data)


def with_sha3_256(product):
    """Give the manifest the checksums of newer products."""
    manifest = product / "manifest.safe"
    text = manifest.read_text()
    for name in re.findall(r'href="\./([^"]+)"', text):
        old = hashlib.md5((product / name).read_bytes()).hexdigest()
        new = hashlib.sha3_256((product / name).read_bytes()).hexdigest()
        text = text.replace(f'"MD5">{old}<', f'"SHA3-256">{new}<')
    assert "MD5" not in text
    manifest.write_text(text)


def check(*paths):
    return compare_files([read_product(path) for path in paths], MPI.COMM_SELF)


@pytest.mark.parametrize("change", [lambda product: None, with_sha3_256], ids=["MD5", "SHA3-256"])
@pytest.mark.parametrize("zipped", [False, True])
def test_all_files_that_are_read_are_compared_and_found_good(product, change, zipped):
    change(product)
    [result] = check(zip_product(product) if zipped else product)
    # twelve bands, the scene classification, the metadata of product and tile
    assert (result.compared, result.damaged, result.unusable) == (15, {}, "")


DAMAGE = {
    "one flipped bit in a band": (lambda p: flip_bit(image(p, "B03", 10)), r"_B03_10m\.jp2"),
    "4 KiB of zeros in a band": (lambda p: zero_4_kib(image(p, "B08", 10), 9000), r"_B08_10m\.jp2"),
    "one flipped bit in the last byte": (lambda p: flip_bit(image(p, "B01", 60), -1), r"_B01_60m\.jp2"),
    "a byte too many": (lambda p: image(p, "B12", 20).open("ab").write(b"\0"), r"_B12_20m\.jp2"),
    "another quantification value in the metadata": (
        lambda p: edit(p / "MTD_MSIL2A.xml", ">10000<", ">10008<"),
        r"MTD_MSIL2A\.xml",
    ),
    "another corner in the tile's metadata": (
        lambda p: edit(next(p.glob("GRANULE/*/MTD_TL.xml")), "<ULX>300000", "<ULX>300010"),
        r"MTD_TL\.xml",
    ),
}


@pytest.mark.parametrize("kind", ["MD5", "SHA3-256"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_that_still_decodes_is_found_in_the_file_that_has_it(product, damage, kind):
    if kind == "SHA3-256":
        with_sha3_256(product)
    spoil, name = DAMAGE[damage]
    before = {path: path.read_bytes() for path in product.rglob("*") if path.is_file()}
    spoil(product)
    [changed] = [path for path, data in before.items() if path.read_bytes() != data]
    [result] = check(product)
    assert list(result.damaged) == [changed.relative_to(product).as_posix()]
    [text] = result.damaged.values()
    assert re.search(name + rf" is damaged: {kind} must be [0-9a-f]{{32,64}} as in manifest\.safe, got [0-9a-f]", text)


def test_damage_is_found_in_a_zip_file_whose_own_checksums_are_right(product):
    flip_bit(image(product, "B04", 10))
    [result] = check(zip_product(product))
    assert [name[-12:] for name in result.damaged] == ["_B04_10m.jp2"]


def test_damage_is_found_in_a_zip_file_whose_own_checksums_are_wrong(product):
    archive = zip_product(product)
    with zipfile.ZipFile(archive) as file:
        entry = next(item for item in file.infolist() if item.filename.endswith("_B04_10m.jp2"))
    flip_bit(archive, entry.header_offset + entry.file_size // 2)
    [result] = check(archive)
    [text] = result.damaged.values()
    assert "_B04_10m.jp2 cannot be read: Bad CRC-32" in text


def test_files_of_a_partial_download_are_compared_and_absent_ones_are_no_error(product):
    shutil.rmtree(product / "DATASTRIP")
    image(product, "SCL", 20).unlink()
    flip_bit(image(product, "B11", 20))
    [result] = check(product)
    assert (result.compared, [name[-12:] for name in result.damaged]) == (14, ["_B11_20m.jp2"])


def test_a_product_without_manifest_is_not_compared_and_that_is_said(product):
    (product / "manifest.safe").unlink()
    results = check(product)
    assert (results[0].compared, results[0].damaged, results[0].unusable) == (0, {}, "")
    assert describe_checks(results) == "0 files of 0 products compared with manifest.safe; 1 without checksums"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda m: m.write_text(m.read_text()[:900]), r"manifest\.safe must be well-formed XML"),
        (lambda m: edit(m, '"MD5"', '"CRC32"'), r"checksums of the kind MD5 or SHA3-256, got 'CRC32'"),
        (lambda m: edit(m, '"MD5">', '"MD5">0'), r"manifest\.safe was written for other files: all 15 checksums diff"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_told_from_damaged_files(product, spoil, reason):
    spoil(product / "manifest.safe")
    [result] = check(product)
    assert (result.compared, result.damaged) == (0, {})
    assert re.search(reason, result.unusable)


@pytest.mark.parametrize("spelling", ["", "./", ".//"])
def test_names_in_the_manifest_may_begin_in_any_way_and_be_listed_twice(product, spelling):
    edit(product / "manifest.safe", 'href="./', f'href="{spelling}')
    stream = re.search(r"<dataObject .*?</dataObject>", (product / "manifest.safe").read_text(), re.DOTALL)[0]
    edit(product / "manifest.safe", "</dataObjectSection>", f"{stream}</dataObjectSection>")
    assert check(product)[0].compared == 15


def test_images_converted_to_geotiff_are_not_in_the_manifest_and_are_not_compared(product):
    for path in product.rglob("*.jp2"):
        path.rename(path.with_suffix(".tif"))
    assert check(product)[0].compared == 2


def test_a_file_that_cannot_be_read_is_a_problem_of_its_own(product):
    path = image(product, "B02", 10)
    path.unlink()
    path.symlink_to("nowhere")
    [result] = check(product)
    assert result.compared == 15
    assert ["_B02_10m.jp2 cannot be read: " in text for text in result.damaged.values()] == [True]


def test_real_manifests_list_every_file_that_extraction_reads(shared_data, tmp_path):
    """Two products of a provider that converted them: MD5 of every file, names with and without ./ in front."""
    for name, files in REAL_PRODUCTS.items():
        product = shutil.copytree(shared_data / "safe_xml" / name, tmp_path / name, copy_function=shutil.copyfile)
        listed = re.findall(r'href="(?:\./)?([^"]+)"', (product / "manifest.safe").read_text())
        for path in (product / item for item in listed if "/IMG_DATA/" in item):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        checksums = needed_checksums(read_product(product))
        assert len(checksums) == files
        assert {item.checksum_name for item in checksums} == {"MD5"}
        # the provider changed its files after the manifest was written
        [result] = check(product)
        assert result.unusable.endswith("manifest.safe was written for other files: all 15 checksums differ")


def test_a_manifest_that_is_there_and_cannot_be_opened_is_no_damage(product):
    (product / "manifest.safe").unlink()
    (product / "manifest.safe").symlink_to("nowhere")
    assert "manifest.safe cannot be read" in check(product)[0].unusable
