"""Wald's protocol: scores by their definitions, images made coarser and finer again without a shift."""

import numpy as np
import pytest
from scipy import ndimage

from etl.superres.degradation import degrade, resize_bicubic, resize_bilinear
from etl.superres.scores import score_image

RNG = np.random.default_rng(3)


def images(side=20, bands=3):
    truth = RNG.integers(500, 4000, (side, side, bands)).astype(np.uint16)
    return (truth + RNG.normal(0, 80, truth.shape)).astype(np.float32), truth


def test_scores_are_what_their_definitions_say_of_the_valid_pixels():
    image, truth = images()
    valid = RNG.random(truth.shape[:2]) > 0.1
    valid[:9, :9] = True
    found = score_image(image, truth, valid)
    for band in range(3):
        x, y = (array[..., band].astype(float) for array in (image, truth))
        error = np.mean([(x[p] - y[p]) ** 2 for p in zip(*np.nonzero(valid), strict=True)])
        assert found.rmse[band] == pytest.approx(error**0.5)
        assert found.sre_db[band] == pytest.approx(10 * np.log10(y[valid].mean() ** 2 / error))
        quality = []
        for row in range(truth.shape[0] - 7):
            for column in range(truth.shape[1] - 7):
                at = (slice(row, row + 8), slice(column, column + 8))
                if valid[at].all():
                    a, b = x[at].ravel(), y[at].ravel()
                    below = (a.var() + b.var()) * (a.mean() ** 2 + b.mean() ** 2)
                    quality.append(4 * np.cov(a, b, bias=True)[0, 1] * a.mean() * b.mean() / below)
        assert found.uiq[band] == pytest.approx(np.mean(quality), abs=1e-9)
    angles = []
    for p in zip(*np.nonzero(valid), strict=True):
        a, b = image[p].astype(float), truth[p].astype(float)
        angles.append(np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))))
    assert found.sam_deg == pytest.approx(np.mean(angles), abs=1e-5)


def test_a_perfect_image_has_no_error_and_an_image_without_a_valid_pixel_no_score():
    _, truth = images()
    everywhere = np.ones(truth.shape[:2], bool)
    found = score_image(truth.astype(np.float32), truth, everywhere)
    assert found.rmse_mean == 0
    assert found.uiq == pytest.approx((1, 1, 1))
    assert found.sam_deg < 1e-5
    assert found.sre_db == (np.inf,) * 3
    with pytest.raises(ValueError, match="at least one pixel must have data"):
        score_image(truth.astype(np.float32), truth, ~everywhere)


@pytest.mark.parametrize("factor", [2, 6])
def test_an_image_is_blurred_and_averaged_block_by_block(factor):
    image = RNG.integers(1, 9000, (12 * factor, 6 * factor, 2)).astype(np.uint16)
    got = degrade(image, factor)
    assert got.shape == (12, 6, 2)
    for band in range(2):
        smooth = ndimage.gaussian_filter(image[..., band].astype(float), 1 / factor, mode="reflect")
        wanted = [[smooth[r : r + factor, c : c + factor].mean() for c in range(0, smooth.shape[1], factor)]
                  for r in range(0, smooth.shape[0], factor)]  # fmt: skip
        assert np.abs(got[..., band] - np.array(wanted)).max() <= 0.51


def test_a_coarse_pixel_without_all_its_data_is_nodata_and_its_neighbours_are_not_darkened():
    image = np.full((24, 24, 1), 3000, np.uint16)
    image[3, 7], image[12:15, 12:15] = 0, 65535
    coarse = degrade(image, 6)
    assert set(coarse.ravel().tolist()) == {0, 3000}
    assert list(zip(*np.nonzero(coarse[..., 0] == 0), strict=True)) == [(0, 1), (2, 2)]


@pytest.mark.parametrize("way", [resize_bilinear, resize_bicubic])
@pytest.mark.parametrize("factor", [2, 6])
def test_a_linear_ramp_stays_where_it_is(way, factor):
    ramp = (1000 + 600 * (np.arange(16) + 0.5))[None, :, None] * np.ones((16, 1, 1))
    fine = way(ramp.astype(np.uint16), factor)
    wanted = 1000 + 600 * (np.arange(16 * factor) + 0.5) / factor
    inner = slice(5 * factor, -5 * factor)
    np.testing.assert_allclose(fine[8 * factor, inner, 0], wanted[inner], rtol=2e-4)
