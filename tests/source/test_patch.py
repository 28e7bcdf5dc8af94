"""Shares of a patch's pixels: without data, under cloud, under snow."""

import numpy as np
import pytest

from etl.bands import GROUPS
from etl.source.patch import pixel_shares


def full_planes():
    """The three groups of a patch, shape (band, row, col), with data everywhere."""
    return [np.ones((len(group.bands), group.patch_px, group.patch_px), np.uint16) for group in GROUPS]


def test_shares_are_over_all_pixels_where_every_band_has_data():
    scl = np.full((60, 60), 4, np.uint8)
    scl[:15], scl[15:30] = 9, 11
    assert pixel_shares(full_planes(), scl) == (0.0, 0.25, 0.25)


@pytest.mark.parametrize("group", [0, 1, 2])
def test_a_pixel_lacks_data_where_one_band_has_none_and_coarse_pixels_count_repeated(group):
    planes = full_planes()
    planes[group][-1, 0, 0] = 0
    assert pixel_shares(planes, None).nodata == GROUPS[group].factor ** 2 / 120**2


def test_cloud_and_snow_are_shares_of_the_pixels_with_data():
    planes, scl = full_planes(), np.full((60, 60), 9, np.uint8)
    for part in planes:
        part[:, : part.shape[1] // 2] = 0
    scl[45:] = 11
    assert pixel_shares(planes, scl) == (0.5, 0.5, 0.5)


def test_pixels_of_the_class_no_data_do_not_count():
    scl = np.full((60, 60), 8, np.uint8)
    scl[:30], scl[30:45] = 0, 4
    assert pixel_shares(full_planes(), scl) == (0.0, 0.5, 0.0)


@pytest.mark.parametrize("empty_bands", [False, True])
def test_without_a_classified_pixel_cloud_and_snow_are_unknown(empty_bands):
    planes, scl = full_planes(), np.full((60, 60), 8 * empty_bands, np.uint8)
    if empty_bands:
        planes[1][0] = 0
    shares = pixel_shares(planes, scl)
    assert shares.unclassified
    assert np.isnan(shares.snow)
    assert shares.nodata == float(empty_bands)
