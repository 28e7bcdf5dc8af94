"""Contents of products: equal for copies in any packing, and read again only where size or time changed."""

import os
import shutil

import pytest
from bad_input import image, product_of, random_pixels
from mpi4py import MPI

from etl.sample.safe import write_product, zip_product
from etl.source.content import content_of_record, describe_difference, digests_of, record_of_content
from etl.source.inspection import DigestRequest, digest_files
from etl.source.open_product import read_product


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    return write_product(tmp_path_factory.mktemp("product"), product_of(1), random_pixels(1, 120))


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were read whole."""
    names = []
    monkeypatch.setattr(
        "etl.source.inspection.digests_of",
        lambda file, kinds: names.append(file.name) or digests_of(file, kinds),
    )
    return names


def content_of(path, *known, compare=True):
    request = DigestRequest(compare, record=True, known={product_of(1).name.removesuffix(".SAFE"): known})
    [_], [content] = digest_files([read_product(path)], MPI.COMM_SELF, request)
    return content


@pytest.mark.parametrize("compare", [True, False])
def test_only_files_of_another_size_or_time_are_read_again(product, tmp_path, read, compare):
    before = content_of(product, compare=compare)
    assert len(read) == (15 if compare else 0)
    read.clear()
    assert content_of(product, before, compare=compare) == before
    assert read == []
    os.utime(image(product, "B03", 10))
    again = content_of(product, before, compare=compare)
    assert len(read) == compare
    assert describe_difference(before, again, {}) == ""
    assert again != before


@pytest.mark.parametrize("manifest", [True, False])
@pytest.mark.parametrize("compare", [True, False])
def test_a_product_in_another_packing_is_the_same_and_one_changed_byte_is_not(product, tmp_path, compare, manifest):
    copy = shutil.copytree(product, tmp_path / product.name)
    if not manifest:
        (copy / "manifest.safe").unlink()
    zipped = zip_product(copy)
    for one, other in ((copy, zipped), (zipped, copy)):
        before = content_of(one, compare=compare)
        assert describe_difference(before, content_of(other, before, compare=compare), {}) == ""
        if one == copy:
            changed = shutil.copytree(copy, tmp_path / "changed")
            band = image(changed, "B8A", 20)
            data = bytearray(band.read_bytes())
            data[-3] ^= 2
            band.write_bytes(data)
        after = content_of(changed, before, compare=compare)
        assert describe_difference(before, after, {"B8A": str(band)}).startswith(f"its B8A, {band}, had other bytes: ")


def test_contents_are_read_back_from_their_record(product):
    content = content_of(product)
    assert content_of_record(record_of_content(content)) == content
    for broken in (None, [], 3, {"B01": 5}, {"B01": [1]}, {"B01": ["1", 2, "MD5:0"]}, {"B01": [1, 2, 3]}):
        with pytest.raises(ValueError, match="must give size, time and digests of each file"):
            content_of_record(broken)
