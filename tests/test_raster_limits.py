"""What a raster may claim: JPEG 2000 by its first bytes, whatever they are."""

import struct

import numpy as np
import pytest
from hostile import claim
from hypothesis import example, given
from hypothesis import strategies as st

from etl.raster import Georeference, RasterError, RasterFile, write_jp2
from etl.raster_limits import Jp2Header, oversize, read_jp2_header

WHERE = Georeference(32633, 300_000, 5_800_020, 10)


@pytest.fixture(scope="module")
def jp2(tmp_path_factory):
    path = tmp_path_factory.mktemp("jp2") / "small.jp2"
    write_jp2(path, np.arange(240 * 240, dtype=np.uint16).reshape(240, 240), WHERE, 120)
    return path.read_bytes()


def header_of(data):
    return read_jp2_header(lambda offset, size: data[offset : offset + size], lambda: len(data))


def test_the_header_of_a_file_in_boxes_and_of_a_bare_code_stream_is_read(jp2):
    start = jp2.index(b"\xff\x4f\xff\x51")
    assert header_of(jp2) == Jp2Header(240, 240, 120, 120, 4, 1, start, is_at_origin=True)
    assert header_of(jp2[start:]) == Jp2Header(240, 240, 120, 120, 4, 1, 0, is_at_origin=True)
    assert header_of(b"II*\0" + bytes(100)) is None
    assert header_of(b"") is None


CLAIMS = {
    "1,200,000 px": ({"columns": 1_200_000, "rows": 1_200_000}, "at most 65535 rows and columns, got 1200000 x"),
    "a huge block": (
        {"columns": 60_000, "rows": 60_000, "tile_columns": 60_000, "tile_rows": 60_000}, "at most 536870912 bytes",
    ),
    "57,600 blocks": ({"tile_columns": 1, "tile_rows": 1}, "at most 4096 tiles, counted for each band, got 57600"),
    "no columns": ({"columns": 0}, "header claims 240 x 0 pixels"),
    "blocks without rows": ({"tile_rows": 0}, "header claims"),
    "a first block inside": ({"left": 5, "tile_left": 7}, "first tile inside the image"),
}  # fmt: skip


@pytest.mark.parametrize("what", CLAIMS)
def test_a_header_that_claims_too_much_is_refused_before_the_decoder_sees_it(jp2, tmp_path, what):
    path = tmp_path / "a.jp2"
    path.write_bytes(jp2)
    claim(path, **CLAIMS[what][0])
    with pytest.raises(RasterError, match=rf"a\.jp2 cannot be opened: .*{CLAIMS[what][1]}"):
        RasterFile(path)


def test_too_many_components_precincts_levels_and_boxes_are_refused(jp2):
    at = jp2.index(b"\xff\x4f\xff\x51")
    many = bytearray(jp2[at:])
    many[4:6] = struct.pack(">H", 38 + 3 * 16_384)
    many[40:42] = struct.pack(">H", 16_384)
    many[43:43] = bytes(3 * 16_383)
    with pytest.raises(ValueError, match="at most 4096 tiles, counted for each band, got 65536"):
        read_jp2_header(lambda offset, size: bytes(many[offset : offset + size]), lambda: len(many))
    style = jp2.index(b"\xff\x52")
    whole = bytearray(jp2)
    levels = whole[style + 9]
    whole[style + 9] = 33
    with pytest.raises(ValueError, match="at most 32 levels of resolution, got 33"):
        header_of(bytes(whole))
    whole[style + 9], whole[style + 4] = levels, whole[style + 4] | 1
    (length,) = struct.unpack_from(">H", whole, style + 2)
    whole[style + 2 : style + 4] = struct.pack(">H", 12 + levels + 1)
    whole[style + 14 : style + 2 + length] = bytes(levels + 1)  # precincts of one pixel
    assert header_of(bytes(whole)) is not None  # 14,400 and a third more
    claim_at = whole.index(b"\xff\x4f\xff\x51") + 8
    for k, value in enumerate((10_980, 10_980, 0, 0, 10_980, 10_980)):
        struct.pack_into(">I", whole, claim_at + 4 * k, value)
    with pytest.raises(ValueError, match="at most 1048576 precincts or code blocks"):
        header_of(bytes(whole))
    boxes = jp2[:12] + b"\0\0\0\x08free" * 2000
    with pytest.raises(ValueError, match="more than 1000 boxes"):
        header_of(boxes)
    with pytest.raises(ValueError, match="holds no code stream"):
        header_of(jp2[:12] + b"\0\0\0\x08free")
    with pytest.raises(ValueError, match="a box of it has"):
        header_of(jp2[:12] + struct.pack(">I4sQ", 1, b"free", 1 << 60))


def test_real_sizes_are_within_all_limits_and_others_are_named():
    for shape, block in (((10_980, 10_980), (1024, 1024)), ((10_980, 10_980), (10_980, 10_980)), ((1, 1), (1, 1))):
        assert oversize(shape, block, 13, 2) == ""
    assert "at most 65535 rows and columns" in oversize((70_000, 1), (1, 1), 1, 2)
    assert "at most 1024 bands" in oversize((10, 10), (1, 1), 65_535, 2)
    assert "blocks of at most" in oversize((60_000, 60_000), (60_000, 60_000), 1, 2)


@given(st.data())
def test_no_bytes_make_the_header_reader_raise_anything_but_a_value_error_or_read_much(jp2, data):
    """Changed bytes of a real header, and any bytes after a real beginning."""
    head = bytearray(jp2[: data.draw(st.integers(0, 400))])
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=8)):
        if at < len(head):
            head[at] = value
    content, reads = bytes(head) + data.draw(st.binary(max_size=60)), []

    def read(offset, size):
        reads.append(size)
        return content[offset : offset + size]

    try:
        header = read_jp2_header(read, lambda: len(content))
    except ValueError:
        header = None
    assert sum(reads) < 200_000
    assert header is None or min(header.rows, header.columns, header.tile_rows, header.tile_columns, header.tiles) > 0


@given(st.binary(max_size=200))
@example(b"\xff\x4f\xff\x51")
@example(b"\0\0\0\x0cjP  \r\n\x87\n")
def test_any_bytes_are_no_image_or_a_broken_one(content):
    try:
        header_of(content)
    except ValueError:
        return
