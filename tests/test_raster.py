"""Raster files: who decodes a JPEG 2000 block, and what becomes of what the decoder says."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
from bad_input import SOT
from scenes import real_groups

from etl.bands import GROUPS
from etl.grid import PixelWindow
from etl.raster import Georeference, RasterError, RasterFile, write_jp2
from etl.sample.safe import BLOCK_PX

WHERE = Georeference(32633, 300_000, 5_800_020, 10)

READ = """
import sys, time
import numpy as np
from etl.raster import RasterFile, configure
configure(int(sys.argv[2]))
file, out = RasterFile(sys.argv[1]), np.empty((512, 512), np.uint16)
mine, whole = time.thread_time(), time.process_time()
file.read((0, 0, 512, 512), out)
print((time.thread_time() - mine) / (time.process_time() - whole))
"""


@pytest.mark.parametrize(("threads", "alone"), [(1, True), (2, False)])
def test_one_thread_that_decodes_is_the_callers_own(tmp_path, threads, alone):
    noise = np.random.default_rng(3).integers(1, 4000, (512, 512)).astype(np.uint16)
    write_jp2(tmp_path / "noise.jp2", noise, Georeference(32633, 0, 0, 10), 512)
    environment = {name: value for name, value in os.environ.items() if name != "OPJ_NUM_THREADS"}
    call = [sys.executable, "-c", READ, str(tmp_path / "noise.jp2"), str(threads)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True, timeout=200)
    assert (float(done.stdout) > 0.9) == alone


def read_blocks(path):
    """Each block's pixels, or what was raised."""
    file, answers = RasterFile(path), []
    sides = [range(0, size, side) for size, side in zip(file.shape, file.block, strict=True)]
    for row, col in product(*sides):
        height, width = (min(s, n - at) for s, n, at in zip(file.block, file.shape, (row, col), strict=True))
        pixels = np.empty((height, width), np.uint16)
        try:
            file.read(PixelWindow(row, col, height, width), pixels)
            answers.append(pixels)
        except RasterError as error:
            answers.append(str(error))
    return answers


def smooth_pixels(side):
    row, col = np.mgrid[:side, :side]
    noise = np.random.default_rng(0).integers(0, 40, (side, side))
    return (1000 + 300 * np.sin(row / 9) + 200 * np.cos(col / 7) + noise).astype(np.uint16)


@pytest.fixture
def small(tmp_path):
    """A JPEG 2000 file of four blocks."""
    write_jp2(tmp_path / "small.jp2", smooth_pixels(256), WHERE, 128)
    return tmp_path / "small.jp2"


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_no_real_band_makes_the_decoder_say_anything(shared_data, tmp_path, caplog):
    """The list of messages that accompany right pixels of real bands is empty, at every ground sample distance."""
    for group, pixels in zip(GROUPS, real_groups(shared_data), strict=True):
        for band, name in enumerate(group.bands):
            path = tmp_path / f"{name}.jp2"
            write_jp2(path, pixels[..., band], WHERE, BLOCK_PX[group.gsd_m])
            height, width = RasterFile(path).block
            for number, block in enumerate(read_blocks(path)):
                row, col = divmod(number, -(-pixels.shape[1] // width))
                want = pixels[row * height : (row + 1) * height, col * width : (col + 1) * width, band]
                assert np.array_equal(block, want), name
    assert warnings_in(caplog) == []


def test_a_wrong_end_marker_stays_a_warning_said_once_and_the_pixels_are_right(small, caplog):
    whole = read_blocks(small)
    data = bytearray(small.read_bytes())
    assert data[-2:] == b"\xff\xd9"
    data[-1] ^= 1
    small.write_bytes(data)
    for before, after in zip(whole, read_blocks(small), strict=True):
        assert np.array_equal(before, after)
    assert warnings_in(caplog) == [f"{small}: Stream does not end with EOC"]


def test_a_warning_of_damage_rejects_the_block_though_it_was_decoded(small):
    data = bytearray(small.read_bytes())
    data[data.index(b"\xff\x52") + 4] |= 2  # the header now promises a marker before each packet
    small.write_bytes(data)
    assert read_blocks(small) == [
        f"{small} is broken at row {row}, column {col}: Expected SOP marker" for row in (0, 128) for col in (0, 128)
    ]


@pytest.mark.parametrize(
    ("at", "reason"),
    [(6, "Tile part length size inconsistent with stream length"), (12, "Marker size inconsistent with stream length")],
)
def test_the_decoders_first_word_is_the_reason(small, at, reason):
    data = bytearray(small.read_bytes())
    where = data.index(SOT + b"\0\1")
    data[where + at] ^= 0x40
    small.write_bytes(data)
    first, second, *_ = read_blocks(small)
    assert isinstance(first, np.ndarray)
    assert second == f"{small} is broken at row 0, column 128: {reason}"


def test_what_the_decoder_says_of_one_file_does_not_touch_another_that_a_thread_decodes(small):
    other = small.with_name("other.jp2")
    other.write_bytes(small.read_bytes()[: small.stat().st_size // 3])
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(read_blocks, [small, other] * 20))
    assert all(isinstance(block, np.ndarray) for blocks in answers[::2] for block in blocks)
    assert all(isinstance(blocks[-1], str) for blocks in answers[1::2])


def test_damage_at_seeded_places_is_refused_with_a_reason_or_decodes_in_silence(small, caplog):
    """Only a checksum finds what decodes in silence: here most flipped bits, and zeros inside a block."""
    whole, data = read_blocks(small), small.read_bytes()
    rng, silent, refused = np.random.default_rng(1), 0, 0
    for number in range(100):
        at, damaged = int(rng.integers(400, len(data) - 4096)), bytearray(data)
        if number % 2:
            damaged[at : at + 4096] = bytes(4096)
        else:
            damaged[at] ^= 1 << int(rng.integers(8))
        small.write_bytes(damaged)
        blocks = read_blocks(small)
        if any(isinstance(block, str) for block in blocks):
            refused += 1
        elif not all(np.array_equal(block, want) for block, want in zip(blocks, whole, strict=True)):
            silent += 1
    assert refused > 5
    assert silent > 50  # bits within the coded pixels, which have no redundancy
    assert warnings_in(caplog) == []
