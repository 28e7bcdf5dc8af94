"""Some tiles of a JPEG 2000 file, decoded from their own bytes."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.grid import PixelWindow
from etl.raster import Georeference, RasterError, RasterFile, write_jp2
from etl.source.jp2_parts import Jp2Parts, index_jp2

PLACE = Georeference(32633, 300_000, 5_900_040, 10)
PX, BLOCK = 250, 64
PIXELS = np.random.default_rng(0).integers(0, 65536, (PX, PX)).astype(np.uint16)


class Recorded:
    """A file that counts the requests for it."""

    def __init__(self, data):
        self.data, self.requests = data, 0

    def __call__(self, offset, size):
        self.requests += 1
        return self.data[offset : offset + size]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A file of 4 x 4 tiles, without TLM markers."""
    path = tmp_path_factory.mktemp("jp2") / "image.jp2"
    write_jp2(path, PIXELS, PLACE, BLOCK)
    return path.read_bytes()


@pytest.fixture(scope="module")
def parts(data):
    return index_jp2(Recorded(data), len(data))


def with_tlm(data, parts, of_tile=1, wide=True, shift=0):
    """The file with a TLM marker at the end of its main header; `shift` is added to each length."""
    number = {0: "", 1: "B", 2: "H"}[of_tile]
    form = ">" + number + ("I" if wide else "H")
    entries = b"".join(
        struct.pack(form, *([tile] if of_tile else []), length + shift)
        for tile, length in zip(parts.tile.tolist(), parts.length.tolist(), strict=True)
    )
    head = struct.pack(">HHBB", 0xFF55, 4 + len(entries), 0, of_tile << 4 | (0x40 if wide else 0))
    return data[: len(parts.head)] + head + entries + data[len(parts.head) :]


@given(data_=st.data())
def test_any_window_is_that_of_the_whole_file(data, parts, data_):
    row, col = data_.draw(st.integers(0, PX - 1)), data_.draw(st.integers(0, PX - 1))
    window = PixelWindow(row, col, data_.draw(st.integers(1, PX - row)), data_.draw(st.integers(1, PX - col)))
    needed = [number for _, numbers in parts.tiles_in(window) for number in numbers]
    stream = parts.stream(b"".join(data[parts.offset[k] : parts.offset[k] + parts.length[k]] for k in needed))
    out = np.empty((window.height, window.width), np.uint16)
    RasterFile("image", content=stream).read(window, out)
    assert np.array_equal(out, PIXELS[row : row + window.height, col : col + window.width])


def test_a_missing_tile_is_told(data, parts):
    stream = parts.stream(data[parts.offset[0] : parts.offset[0] + parts.length[0]])
    with pytest.raises(RasterError, match="is broken at row 64"):
        RasterFile("image", content=stream).read(PixelWindow(64, 64, 8, 8), np.empty((8, 8), np.uint16))


def test_without_tlm_each_part_takes_a_request(data):
    read = Recorded(data)
    assert len(index_jp2(read, len(data)).tile) == 16
    assert read.requests == 1 + 16


@pytest.mark.parametrize(("of_tile", "wide"), [(1, True), (2, True), (1, False), (2, False)])
def test_with_tlm_one_request_is_enough(data, parts, of_tile, wide):
    marked = with_tlm(data, parts, of_tile, wide)
    read = Recorded(marked)
    found = index_jp2(read, len(marked))
    assert read.requests == 1
    assert np.array_equal(found.tile, parts.tile)
    assert np.array_equal(found.length, parts.length)
    assert np.array_equal(found.offset - parts.offset, np.full(16, len(marked) - len(data)))
    stream = found.stream(marked[found.offset[5] : found.offset[5] + found.length[5]])
    assert stream[2:4] == b"\xff\x51"
    assert b"\xff\x55" not in stream[: len(found.head) - found.start]
    out = np.empty((64, 64), np.uint16)
    RasterFile("image", content=stream).read(PixelWindow(64, 64, 64, 64), out)
    assert np.array_equal(out, PIXELS[64:128, 64:128])


@pytest.mark.parametrize(("of_tile", "shift"), [(0, 0), (1, 1), (1, -1)])
def test_tlm_that_names_no_tiles_or_other_lengths_is_not_used(data, parts, of_tile, shift):
    marked = with_tlm(data, parts, of_tile, shift=shift)
    read = Recorded(marked)
    assert np.array_equal(index_jp2(read, len(marked)).length, parts.length)
    assert read.requests > 1


def test_it_is_kept_in_a_file(parts, tmp_path):
    parts.save(tmp_path / "a" / "parts.npz")
    kept = Jp2Parts.load(tmp_path / "a" / "parts.npz")
    assert (kept.head, kept.start, kept.size) == (parts.head, parts.start, parts.size)
    assert all(np.array_equal(getattr(kept, name), getattr(parts, name)) for name in ("tile", "offset", "length"))


def halved(data):
    return data[: len(data) // 2]


def flipped(data):
    return data[:200] + bytes([data[200] ^ 1]) + data[201:]


@pytest.mark.parametrize("change", [None, lambda data: b"", lambda data: bytes(100), halved, flipped])
def test_a_file_that_does_not_hold_it_whole_is_none(parts, tmp_path, change):
    path = tmp_path / "parts.npz"
    if change is not None:
        parts.save(path)
        path.write_bytes(change(path.read_bytes()))
    assert Jp2Parts.load(path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data, at: b"II*\0" + data[4:], "must be JPEG 2000"),
        (lambda data, at: data[: at - 10], "its header is cut|must end within"),
        (lambda data, at: data[: at + 5], "must hold its 16 tiles, but holds 0"),
        (lambda data, at: data[: at + 5000], "must end within"),
        (lambda data, at: data[:at] + b"\0\0" + data[at + 2 :], "must have at most|must end within|cut"),
        (lambda data, at: data[: at + 6] + b"\0\0\0\5" + data[at + 10 :], "must end within"),
        (lambda data, at: data[:at] + b"\xff\x60\0\3\0" + data[at:], "PPM"),
    ],
)
def test_a_broken_file_is_told(data, parts, change, message):
    broken = change(data, len(parts.head))
    with pytest.raises(ValueError, match=message):
        index_jp2(Recorded(broken), len(broken))
