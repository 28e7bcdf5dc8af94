"""Readers of XML, JSON, lists, tables and GeoTIFF tags: whatever the bytes, a result or the documented error."""

import json
import struct
import tracemalloc
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from bad_input import ORIGIN, listed, product_of, random_pixels
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from etl.catalogue.bigearthnet_v1 import read_v1
from etl.catalogue.columns import CATALOGUE_SCHEMA
from etl.catalogue.images import read_image_table
from etl.catalogue.list_file import read_names, read_names_and_products
from etl.catalogue.names import is_patch, is_product, parse_patch, parse_time
from etl.grid import nominal_origin
from etl.input_files import MOST_METADATA_BYTES
from etl.product_files import ProductError
from etl.raster import Georeference, utm_wkt, write_geotiff
from etl.sample.safe import write_product
from etl.source.file_checksums import needed_checksums
from etl.source.geotiff import PlainGeoTiffs
from etl.source.open_product import read_product

NUMBERS = [
    "9" * 400, "9" * 5000, "-1", "0", "1e400", "-1e400", "nan", "inf", "1_000", "\u0663", "0x10",
    "1e-400", "3.5", "+5", "",
    " ", "EPSG:", "EPSG:" + "3" * 20, "EPSG:32633:32633", "NaN", "Infinity", "\u2212" + "5", "1" * 19,
]  # fmt: skip
"""Texts in the place of numbers, that a reader has once taken wrongly, or could."""

TEXTS = [
    "\ud800", "\0", "x" * 10_000, "../../../etc/passwd", "/vsicurl/http://127.0.0.1:9/", "=1+1", "\u202e", "é" * 300,
    "S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE", "S2A_MSIL2A_20171301T999999_87_48",
    "S2A_MSIL2A_\u0662\u0660\u0661\u06670613T101031_87_48", "T33UUP\n", "{}", "]]>", "<a>", "&amp;",
]  # fmt: skip
"""Texts in the place of names."""

XML = [
    b"", b" " * 1000, b"<", b"<a>" * 5000, b"<a/>", b"\xff\xfe<\0a\0/\0>\0", b"<?xml version='1.0' encoding='x'?><a/>",
    b"<?xml version='1.0' encoding='utf-7'?><a/>", b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
    b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    b"<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;&c;'>]><a>&c;</a>",
    b"<a " + b" ".join(b"a%d=''" % k for k in range(999)),
    b"<a b='" + b"x" * 100_000 + b"'/>", b"<a>\0</a>", b"<a>&#xD800;</a>", b"<a>&#0;</a>",
]  # fmt: skip
"""Documents that are none, or no product's."""

quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@st.composite
def changed(draw, data):
    """The bytes of a file with pieces cut out, put in, or changed."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(out) - 1)))
        piece = draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([t.encode("utf-8", "replace") for t in NUMBERS + TEXTS]))
        )
        out[at : at + draw(st.integers(0, 40))] = piece
    return bytes(out[: draw(st.one_of(st.none(), st.integers(0, len(out))))])


# --- XML of a product -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def product(tmp_path_factory):
    """A small product, and the content of its XML files."""
    folder = write_product(tmp_path_factory.mktemp("fuzz"), product_of(1), random_pixels(1, 120))
    paths = [folder / "MTD_MSIL2A.xml", next(folder.glob("GRANULE/*/MTD_TL.xml")), folder / "manifest.safe"]
    return folder, {path: path.read_bytes() for path in paths}


def read_all(product, path, data):
    """Read a product with other bytes in one of its files; what was raised, or an empty text."""
    folder, whole = product
    path.write_bytes(data)
    try:
        needed_checksums(read_product(folder))
    except ProductError as error:
        reason = str(error)
    else:
        reason = ""
    path.write_bytes(whole[path])
    assert not reason or str(folder) in reason
    assert len(reason) < 3000
    assert reason.encode().decode() == reason
    return reason


@quick
@given(st.data(), st.sampled_from([0, 1, 2]))
def test_xml_with_changed_bytes_is_read_or_rejects_the_product(product, data, which):
    path, whole = list(product[1].items())[which]
    read_all(product, path, data.draw(changed(whole)))


@pytest.mark.parametrize("number", NUMBERS, ids=[f"{k}" for k in range(len(NUMBERS))])
def test_no_text_in_the_place_of_a_number_ends_a_run(product, number):
    texts = {
        b"<ULX>": 1, b"<ULY>": 1, b"<NROWS>": 1, b"<NCOLS>": 1, b"<HORIZONTAL_CS_CODE>": 1, b"<PROCESSING_BASELINE>": 0,
        b"none\">": 0,
    }  # fmt: skip
    for start, which in texts.items():
        path, whole = list(product[1].items())[which]
        before, found, after = whole.partition(start)
        assert found, start
        read_all(product, path, before + found + number.encode() + b"<" + after.partition(b"<")[2])


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("document", XML, ids=[f"{k}" for k in range(len(XML))])
def test_documents_that_are_no_metadata_reject_the_product(product, document, which):
    assert read_all(product, list(product[1])[which], document) or which == 2


def test_a_document_takes_memory_in_proportion_to_its_size_which_is_limited(product):
    path, _ = list(product[1].items())[1]
    reason = read_all(product, path, b"<a>" + b" " * (MOST_METADATA_BYTES + 1))
    assert f"must have at most {MOST_METADATA_BYTES} bytes" in reason
    data = b"<a>" + b"<b/>" * 50_000 + b"</a>"  # nothing takes more memory than elements without a text
    tracemalloc.start()
    read_all(product, path, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60 * len(data)  # so that the largest document takes less than 1 GiB


# --- JSON of a patch --------------------------------------------------------------------------------------------------

PATCH = listed(product_of(1))[0]["patch"]
DESCRIPTION = {
    "labels": ["Mixed forest"],
    "coordinates": {"ulx": ORIGIN.ulx, "uly": ORIGIN.uly, "lrx": ORIGIN.ulx + 1200, "lry": ORIGIN.uly - 1200},
    "projection": utm_wkt(ORIGIN.epsg),
    "tile_source": product_of(1).product_name("MSIL1C", "02.05", product_of(1).generated),
}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8)
    | st.sampled_from([10**400, -(10**400), 2**31, 2**63, *TEXTS, *NUMBERS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def read_description(folder, data):
    """Read a patch's description of these bytes; it gives a row or a reason, which can be written."""
    (folder / PATCH).mkdir(exist_ok=True)
    (folder / PATCH / f"{PATCH}_labels_metadata.json").write_bytes(data)
    rows, rejected = read_v1([PATCH], lambda name: [folder / name])
    assert len(rows) + len(rejected) == 1
    assert rows.schema == CATALOGUE_SCHEMA
    for _, reason in rejected:
        assert len(reason) < 1000
        pa.array([reason])
    return rows


@quick
@given(changed(json.dumps(DESCRIPTION).encode()))
@example(b'{"labels": ["\\ud800"]}')
@example(b"[" * 100_000)
@example(b'{"a":' * 50_000)
@example(b"\xff\xfe[\0]\0")
@example(b"9" * 5000)
def test_json_with_changed_bytes_is_a_row_or_a_reason(tmp_path, data):
    read_description(tmp_path, data)


@quick
@given(st.dictionaries(st.sampled_from([*DESCRIPTION, "acquisition_date"]), values, max_size=4))
def test_any_values_in_a_description_are_a_row_or_a_reason(tmp_path, changes):
    read_description(tmp_path, json.dumps({**DESCRIPTION, **changes}).encode())


@quick
@given(st.dictionaries(st.sampled_from(["ulx", "uly", "lrx", "lry"]), values, max_size=4))
def test_any_values_of_coordinates_are_a_row_or_a_reason(tmp_path, changes):
    corners = {**DESCRIPTION["coordinates"], **changes}
    read_description(tmp_path, json.dumps({**DESCRIPTION, "coordinates": corners}).encode())


# --- lists, tables, names ---------------------------------------------------------------------------------------------


def require_result(path, read):
    """A reader gives something, or says what is wrong with the file."""
    try:
        read()
    except ValueError as error:
        reason = str(error)
    else:
        return
    assert str(path) in reason


LINES = f"patch,product\n{PATCH},{DESCRIPTION['tile_source']}\n".encode()


@quick
@given(changed(LINES * 3), st.sampled_from(["train.csv", "train.csv.gz"]))
@example(b"\0", "train.csv")
@example(b"\xff\xfe\0", "train.csv")
@example(b"\x1f\x8b", "train.csv.gz")
@example((PATCH.encode() + b" ") * 300, "train.csv")
def test_any_list_gives_names_or_a_value_error(tmp_path, data, name):
    path = tmp_path / name
    path.write_bytes(data)
    for read in (read_names, read_names_and_products):
        for patches in (None, pa.chunked_array([[PATCH]])):
            require_result(path, partial(read, path, patches))


TABLE = b"path,label,split,epsg,ulx,uly\na.tif,Forest;River,train,32633,1.5,2\nb.tif,\"['x', 'y']\",,,,\n"


@quick
@given(changed(TABLE))
@example(b'path\n"' + b"x" * 200_000)
@example(b"path,path\na,b\n")
@example(b"path,epsg\na," + b"9" * 400)
@example(b"path;label\na;b;c\n")
@example(b"\xff\xfep\0a\0t\0h\0")
def test_any_table_of_images_gives_rows_or_a_value_error(tmp_path, data):
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    require_result(path, partial(read_image_table, path))


@given(st.one_of(st.text(st.characters()), st.sampled_from(TEXTS + NUMBERS)))
def test_any_name_is_parsed_or_a_value_error(name):
    if not is_product(name) and not is_patch(name):
        for parse in (parse_patch, parse_time, nominal_origin):
            with pytest.raises(ValueError, match=r"must be|has the columns"):
                parse(name)


# --- tags of a GeoTIFF ------------------------------------------------------------------------------------------------

PLACE = Georeference(ORIGIN.epsg, ORIGIN.ulx, ORIGIN.uly, 60)
TAGS = [256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 339, 33550, 33922, 34735, 34736, 34737]
longs = st.sampled_from([0, 1, 2, 20, 40, 400, 800, 65_535, 2**31, 2**32 - 1]) | st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def geotiff(tmp_path_factory):
    path = tmp_path_factory.mktemp("tags") / "a.tif"
    write_geotiff(path, np.arange(400, dtype=np.uint16).reshape(20, 20), PLACE)
    return path.read_bytes()


def read_plain(path, data):
    path.write_bytes(data)
    out = np.zeros((20, 20), np.uint16)
    plain = PlainGeoTiffs()
    assert plain.read(str(path), out, PLACE) or not out.any()
    plain.lies_at(str(path), PLACE)


@quick
@given(st.data())
def test_a_geotiff_with_changed_bytes_is_read_or_left_to_gdal(geotiff, tmp_path, data):
    read_plain(tmp_path / "b.tif", data.draw(changed(geotiff)))


@quick
@given(
    st.lists(st.tuples(st.sampled_from(TAGS), st.integers(0, 13), longs, longs), max_size=12), st.binary(max_size=40)
)
@example([(tag, 3, 0, 0) for tag in TAGS], b"")
@example([(tag, 4, 2**32 - 1, 8) for tag in TAGS], b"")
def test_any_tags_are_read_or_left_to_gdal(geotiff, tmp_path, fields, behind):
    """Tags of a plain file, some in place of its own."""
    (first,) = struct.unpack_from("<I", geotiff, 4)
    (count,) = struct.unpack_from("<H", geotiff, first)
    entries = [struct.unpack_from("<HHII", geotiff, first + 2 + 12 * k) for k in range(count)]
    merged = {entry[0]: entry for entry in [*entries, *fields]}
    block = struct.pack("<H", len(merged)) + b"".join(struct.pack("<HHII", *merged[tag]) for tag in sorted(merged))
    data = geotiff[:4] + struct.pack("<I", len(geotiff)) + geotiff[8:] + block + bytes(4) + behind
    read_plain(tmp_path / "b.tif", data)
