"""Bilinear upsampling: exact, aligned by pixel area, blind to pixels without data."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from osgeo import gdal
from strategies import windows

from etl.upsample.bilinear import upsample_bilinear

FACTORS = pytest.mark.parametrize("factor", [2, 6])


def by_definition(window, factor):
    """Weighted mean of the four nearest source pixels with data, in exact arithmetic, rounded half up."""
    bands, side, _ = window.shape
    out = np.zeros((bands,) + ((side - 2) * factor,) * 2, np.uint16)
    for b, y, x in np.ndindex(*out.shape):
        own = window[b, y // factor + 1, x // factor + 1]
        if own in (0, 65535):
            out[b, y, x] = own
            continue
        total = weight = Fraction(0)
        centre = [Fraction(2 * k + 1, 2 * factor) + Fraction(1, 2) for k in (y, x)]
        first = [int(c) for c in centre]
        for dy in (0, 1):
            for dx in (0, 1):
                beyond = [c - k for c, k in zip(centre, first, strict=True)]
                w = [f if d else 1 - f for d, f in zip((dy, dx), beyond, strict=True)]
                value = int(window[b, first[0] + dy, first[1] + dx])
                if value not in (0, 65535):
                    total += w[0] * w[1] * value
                    weight += w[0] * w[1]
        out[b, y, x] = int(total / weight + Fraction(1, 2))
    return out


@FACTORS
@given(window=windows())
@settings(max_examples=25)
def test_it_is_the_weighted_mean_in_exact_arithmetic(factor, window):
    assert np.array_equal(upsample_bilinear(window, factor), by_definition(window, factor))


@FACTORS
@given(value=st.integers(0, 65535))
def test_a_constant_stays_that_constant(factor, value):
    window = np.full((2, 7, 7), value, np.uint16)
    assert np.all(upsample_bilinear(window, factor) == value)


@FACTORS
def test_a_linear_ramp_stays_linear_without_a_half_pixel_shift(factor):
    slope, start = 120, 2000  # counts per 10 m, counts at the patch's left border
    centres = start + slope * factor * (np.arange(-1, 21) + 0.5)
    fine = upsample_bilinear(np.tile(centres, (22, 1))[None].astype(np.uint16), factor)
    wanted = start + slope * (np.arange(20 * factor) + 0.5)
    assert np.array_equal(fine[0, 0], wanted)
    assert np.array_equal(fine[:, -1], fine[:, 0])


@FACTORS
def test_neighbouring_windows_meet_without_a_seam(factor):
    scene = np.random.default_rng(7).integers(1, 65535, (3, 22, 42)).astype(np.uint16)
    whole = np.concatenate(
        [upsample_bilinear(scene[..., :22], factor), upsample_bilinear(scene[..., 20:], factor)], axis=2
    )
    for first in (1, 5, 13):
        part = upsample_bilinear(scene[..., first : first + 22], factor)
        assert np.array_equal(part, whole[..., first * factor : (first + 20) * factor])


@FACTORS
def test_pixels_without_data_stay_and_do_not_spread(factor):
    window = np.full((1, 12, 12), 1000, np.uint16)
    window[0, 4, 4], window[0, 7, 7] = 0, 65535
    fine = upsample_bilinear(window, factor)
    assert (fine == 0).sum() == (fine == 65535).sum() == factor**2
    assert set(np.unique(fine)) == {0, 1000, 65535}


@FACTORS
def test_it_agrees_with_gdal_to_one_count_where_all_pixels_have_data(factor):
    window = np.random.default_rng(1).integers(1, 20000, (1, 22, 22)).astype(np.uint16)
    memory = gdal.GetDriverByName("MEM").Create("", 22, 22, 1, gdal.GDT_Float64)
    memory.GetRasterBand(1).WriteArray(window[0].astype(float))
    side = 22 * factor
    peer = memory.GetRasterBand(1).ReadAsArray(buf_xsize=side, buf_ysize=side, resample_alg=gdal.GRIORA_Bilinear)
    inner = peer[factor:-factor, factor:-factor]
    assert np.abs(upsample_bilinear(window, factor)[0] - inner).max() <= 0.5 + 1e-6
