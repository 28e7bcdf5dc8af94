"""Resuming after the source was replaced by another of the same names, or copied, renamed, unpacked or zipped."""

import json
import re
import shutil

import numpy as np
import pytest
from bad_input import cut, edit, errors, geotiff, image, job, poke, random_pixels, reasons, write_patch
from commands import content, ranks, same

from etl.raster import Georeference, write_geotiff
from etl.sample.safe import write_product, zip_product
from etl.store.journal import Journal, journal_location
from etl.store.location import Location


def lose_a_row(folder):
    """Damage row 2 of a store, so that it must be extracted again."""
    poke(folder / "store.h5", "data_60m", 2 * 20 * 20 * 2 * 2, bytes(100))


@pytest.fixture
def own(begun, tile):
    """As `begun`, with a copy of the product, which is newer than the journal says, and a row to be extracted again."""
    (begun / "tiles").unlink()
    shutil.copytree(tile.root / "tiles", begun / "tiles")
    lose_a_row(begun)
    return begun


def without_manifest(product, *_):
    (product / "manifest.safe").unlink()


def other_pixels(product, tile):
    shutil.rmtree(product)
    write_product(product.parent, tile.spec, random_pixels(9, 360))


def changed(product, path):
    """Flip the last bit of a file, and leave its size and the manifest out of it."""
    without_manifest(product)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def other_metadata(product, _):
    without_manifest(product)
    edit(product / "MTD_MSIL2A.xml", ">10000<", ">10008<")


UNCHECKED = ("--no-check-files",)

REPLACED = {
    "other pixels": (other_pixels, (), r"its B01, .*_B01_60m\.jp2, had \d+ bytes and has \d+"),
    "other pixels, unchecked": (other_pixels, UNCHECKED, r"its B01, .*_B01_60m\.jp2, had \d+ bytes and has \d+"),
    "another quantification value": (other_metadata, (), r"its MTD_MSIL2A\.xml had other bytes: MD5:\w+, and has MD5"),
    "other scene classes": (
        lambda p, _: changed(p, image(p, "SCL", 20)), (), r"its SCL, .*_SCL_20m\.jp2, had other bytes: MD5:"
    ),
    "no scene classes any more": (
        lambda p, _: (without_manifest(p), image(p, "SCL", 20).unlink()), (), r"its SCL is missing"
    ),
    "one changed byte, unchecked": (
        lambda p, _: changed(p, image(p, "B05", 20)), UNCHECKED, r"its B05, .* had other bytes: MD5:\w+, and has "
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", REPLACED)
def test_a_store_is_not_resumed_with_another_product_of_the_same_name(own, tile, how):
    replace, flags, wanted = REPLACED[how]
    replace(own / "tiles" / tile.spec.name, tile)
    before = (own / "store.h5").read_bytes(), (own / "store.h5.journal").read_bytes()
    done = job(2, own, own / "store.h5", "--resume", *flags)
    assert done.returncode == 2, done.stderr
    [error] = errors(done)
    name = tile.spec.name.removesuffix(".SAFE")
    assert f"was extracted from {name}, but --source now holds another product under this name: " in error
    assert re.search(wanted, error), error
    assert "restore it, or extract all its patches again with --retry-rejected" in error
    assert before == ((own / "store.h5").read_bytes(), (own / "store.h5.journal").read_bytes())


def into_zip(product):
    zip_product(product)
    shutil.rmtree(product)


STAGED = {
    "copied": (lambda product: None, ()),
    "copied, unchecked": (lambda product: None, UNCHECKED),
    "zipped": (into_zip, ()),
    "zipped, unchecked": (into_zip, UNCHECKED),
    "renamed": (lambda product: product.rename(product.with_name("tile of June")), ()),
    "without its manifest": (without_manifest, ()),
}


@pytest.mark.parametrize("how", STAGED)
def test_a_store_is_resumed_with_a_copy_of_its_products(own, tile, how):
    stage, flags = STAGED[how]
    stage(own / "tiles" / tile.spec.name)
    done = job(2, own, own / "store.h5", "--resume", *flags)
    assert done.returncode == 0, done.stderr
    assert "9 patches written (8 of them before)" in done.stdout
    assert same(content(own / "store.h5"), tile.store)


def test_a_store_begun_with_a_zip_file_and_without_checks_is_resumed_with_its_folder(tile, tmp_path):
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    into_zip(tmp_path / "tiles" / tile.spec.name)
    assert job(1, tmp_path, tmp_path / "store.h5", "--no-check-files").returncode == 0
    shutil.rmtree(tmp_path / "tiles")
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    poke(tmp_path / "store.h5", "complete", 0, b"\0")
    lose_a_row(tmp_path)
    done = job(1, tmp_path, tmp_path / "store.h5", "--resume", "--no-check-files")
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "store.h5"), tile.store)
    shutil.rmtree(tmp_path / "tiles")
    (tmp_path / "tiles").mkdir()
    write_product(tmp_path / "tiles", tile.spec, random_pixels(9, 360))
    assert job(1, tmp_path, tmp_path / "store.h5", "--resume", "--no-check-files").returncode == 2


def test_a_journal_without_digests_is_resumed_with_one_warning_and_has_them_then(begun, tile):
    path = begun / "store.h5.journal"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        entry.pop("sum")
        entry.pop("contents", None)
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    lose_a_row(begun)
    done = job(2, begun, begun / "store.h5", "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("has no digests of the products' files") == 1
    assert same(content(begun / "store.h5"), tile.store)
    [product] = Journal.read(journal_location(Location.parse(begun / "store.h5"))).contents.values()
    assert len(product[0]) == 15


@pytest.mark.parametrize(
    ("band", "gsd_m", "kept", "status", "rejected"),
    [("B01", 60, 0.05, 2, range(9, 10)), ("B02", 10, 0.7, 0, range(1, 9))],
    ids=["no row is written", "some rows are written"],
)
def test_a_broken_product_is_mended_and_its_patches_are_extracted(tile, tmp_path, band, gsd_m, kept, status, rejected):
    """Without checksums in a manifest all whole blocks are read."""
    shutil.copytree(tile.root / "tiles", tmp_path / "tiles")
    shutil.copy(tile.root / "patches.parquet", tmp_path)
    product, out = tmp_path / "tiles" / tile.spec.name, tmp_path / "store.h5"
    without_manifest(product)
    whole = image(product, band, gsd_m).read_bytes()
    cut(image(product, band, gsd_m), kept)
    assert job(1, tmp_path, out).returncode == status
    assert len(reasons(out)) in rejected
    image(product, band, gsd_m).write_bytes(whole)
    done = job(2, tmp_path, out, "--resume", "--retry-rejected")
    assert done.returncode == 0, done.stderr
    assert same(content(out), tile.store)


def test_with_retry_rejected_all_patches_of_a_replaced_product_are_extracted_again(tile, own, tmp_path):
    """Also those that were written from the product before, so that content is not mixed."""
    product = own / "tiles" / tile.spec.name
    other_metadata(product, tile)
    wanted = tmp_path / "wanted"
    wanted.mkdir()
    (wanted / "tiles").symlink_to(own / "tiles")
    shutil.copy(own / "patches.parquet", wanted)
    assert job(1, wanted, wanted / "store.h5").returncode == 0
    done = job(2, own, own / "store.h5", "--resume", "--retry-rejected")
    assert done.returncode == 0, done.stderr
    assert "was replaced since the store was begun: its MTD_MSIL2A.xml had other bytes" in done.stderr
    assert "9 patches written" in done.stdout
    assert same(content(own / "store.h5"), content(wanted / "store.h5"))
    assert not same(content(own / "store.h5"), tile.store)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A patch archive of six patches, its catalogue and its store."""
    root = tmp_path_factory.mktemp("patches")
    for i in range(6):
        write_patch(root / "tiles", i, 0, i)
    made = ranks(1, "etl.catalogue", "--source", str(root / "tiles"), "--out", str(root / "patches.parquet"))
    assert made.returncode == 0, made.stderr
    assert job(1, root, root / "store.h5").returncode == 0
    return root


@pytest.fixture
def half(archive, tmp_path):
    """A copy of the archive and of its store, with a row to be extracted again."""
    shutil.copytree(archive, tmp_path, dirs_exist_ok=True)
    poke(tmp_path / "store.h5", "complete", 0, b"\0")
    lose_a_row(tmp_path)
    return tmp_path


@pytest.mark.parametrize("size", [1, 3])
def test_a_copied_patch_archive_resumes_and_another_one_does_not(half, archive, size):
    done = job(size, half, half / "store.h5", "--resume")
    assert done.returncode == 0, done.stderr
    assert same(content(half / "store.h5"), content(archive / "store.h5"))
    poke(half / "store.h5", "complete", 0, b"\0")
    lose_a_row(half)
    folder = sorted((half / "tiles").iterdir())[4]
    file = geotiff(folder, "B09")
    place = Georeference(32633, *place_of(half, folder.name), 60)
    write_geotiff(file, np.full((20, 20), 77, np.uint16), place)
    done = job(size, half, half / "store.h5", "--resume")
    assert done.returncode == 2, done.stderr
    [error] = errors(done)
    assert f"{folder.name} of {half}/store.h5 was read from another --source: its pixels are others now" in error
    shutil.rmtree(folder)
    done = job(size, half, half / "store.h5", "--resume")
    assert done.returncode == 2, done.stderr
    assert "was read from another --source: " in errors(done)[0]


def test_a_patch_archive_is_compared_before_rows_whose_checksums_are_lost_are_repaired(archive, tmp_path):
    shutil.copytree(archive, tmp_path, dirs_exist_ok=True)
    out, recheck = tmp_path / "store.h5", ("--resume", "--recheck")
    shutil.rmtree(sorted((tmp_path / "tiles").iterdir())[4])
    lose_a_row(tmp_path)
    done = job(1, tmp_path, out, *recheck)
    assert done.returncode == 0, done.stderr
    assert same(content(out), content(archive / "store.h5"))
    lose_a_row(tmp_path)
    poke(out, "checksum", 8 * 2, bytes(8))
    before = out.read_bytes(), (tmp_path / "store.h5.journal").read_bytes()
    done = job(2, tmp_path, out, *recheck)
    assert done.returncode == 2, done.stderr
    assert "was read from another --source: " in errors(done)[0]
    assert before == (out.read_bytes(), (tmp_path / "store.h5.journal").read_bytes())


def place_of(root, name):
    stored = content(root / "store.h5")
    row = stored["patch"].tolist().index(name.encode())
    return float(stored["ulx"][row]), float(stored["uly"][row])
