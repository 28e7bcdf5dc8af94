"""Radiometry: every processing baseline on one scale."""

import numpy as np
import pytest

from etl.source.radiometry import lookup_table


def test_products_without_an_offset_are_left_alone():
    assert lookup_table(0, 10_000) is None


def test_the_offset_is_applied_and_clipped_and_special_values_stay():
    values = lookup_table(-1000, 10_000)
    assert values[[0, 65535]].tolist() == [0, 65535]
    assert values[[1, 1000, 1001, 1002, 4000, 65534]].tolist() == [1, 1, 1, 2, 3000, 64534]
    assert values[1:65535].min() == 1
    assert values[1:65535].max() <= 65534


def test_another_quantification_is_brought_to_ten_thousand():
    assert lookup_table(0, 1000)[[0, 1, 250, 7000, 65535]].tolist() == [0, 10, 2500, 65534, 65535]
    assert lookup_table(-100, 20_000)[[101, 103, 300]].tolist() == [1, 2, 100]


@pytest.mark.parametrize("offset", [-1000, -1, 1, 1000])
def test_no_valid_pixel_becomes_a_special_value(offset):
    values = lookup_table(offset, 10_000)
    assert not np.isin(values[1:65535], [0, 65535]).any()
