"""Statistics: exact whole numbers, whatever their size."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from etl.schema import STATS, Schema
from etl.store.statistics import Sums, row_sums, to_words


def counted(pixels):
    """The same by Python integers."""
    out = []
    for band in range(pixels.shape[-1]):
        values = [int(v) for v in pixels[..., band].ravel()]
        valid = [v for v in values if v not in (0, 65535)]
        out.append((len(valid), sum(valid), sum(v * v for v in valid), values.count(0), values.count(65535)))
    return np.array(out).T


@given(seed=st.integers(0, 2**32 - 1), low=st.sampled_from([0, 1, 65530]))
def test_sums_leave_nodata_and_saturated_pixels_out_and_count_them_apart(seed, low):
    pixels = np.random.default_rng(seed).integers(low, 65536, (6, 6, 3)).astype(np.uint16)
    assert np.array_equal(row_sums(pixels), counted(pixels))


def test_the_largest_patch_is_summed_without_rounding():
    pixels = np.full((120, 120, 12), 65534, np.uint16)
    assert row_sums(pixels)[2].tolist() == [14400 * 65534**2] * 12


def test_totals_beyond_64_bits_come_back_from_their_two_words():
    sums = Sums(Schema(1).pixels)
    row = np.zeros((len(STATS), 4), np.int64)
    row[2] = 14400 * 65534**2
    for _ in range(1000):
        sums.add(1, "data_10m", row)
    sums.totals["data_10m"] = sums.totals["data_10m"] * 1_000_000
    words = to_words(sums.totals["data_10m"])
    total = int(words[1, 2, 0, 0]) * 2**64 + int(words[1, 2, 0, 1])
    assert total == 14400 * 65534**2 * 1000 * 1_000_000 > 2**64


def test_merging_parts_gives_the_whole():
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 65536, (10, 20, 20, 2)).astype(np.uint16)
    parts = [Sums(Schema(1).pixels) for _ in range(3)]
    for k, row in enumerate(rows):
        parts[k % 3].add(k % 4, "data_60m", row_sums(row))
    whole = Sums(Schema(1).pixels)
    whole.merge([part.totals for part in parts])
    for split in range(4):
        wanted = sum((row_sums(row) for k, row in enumerate(rows) if k % 4 == split), np.zeros((5, 2), np.int64))
        assert np.array_equal(whole.totals["data_60m"][split].astype(np.int64), wanted)
