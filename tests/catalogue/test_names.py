"""What names of products and patches say."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.catalogue.names import (
    PatchName,
    ProductName,
    is_patch,
    parse_patch,
    parse_product,
    parse_time,
)

times = st.datetimes(datetime(2015, 6, 23), datetime(2049, 12, 31)).map(lambda t: t.replace(microsecond=0, tzinfo=UTC))
products = st.builds(
    ProductName,
    mission=st.sampled_from(["S2A", "S2B", "S2C", "S2D"]),
    level=st.sampled_from(["1C", "2A"]),
    acquired=times,
    orbit=st.integers(1, 143),
    tile=st.from_regex(r"[0-6][0-9][C-X][A-Z][A-V]", fullmatch=True),
    baseline=st.from_regex(r"[0-9]{2}\.[0-9]{2}", fullmatch=True),
    processed=st.none() | times,
)
cells = st.integers(0, 90)


@given(products)
def test_a_products_name_says_what_it_was_made_from(product):
    assert parse_product(product.name) == product
    assert parse_product(f"{product.name}.SAFE") == parse_product(f"{product.name}.zip") == product


@given(products, cells, cells)
def test_a_version_2_patch_name_says_what_it_was_made_from(product, row, col):
    named = PatchName(parse_product(product.stem), row, col)
    assert parse_patch(named.name) == named
    assert is_patch(named.name)


@given(products, cells, cells)
def test_a_version_1_patch_name_says_mission_time_and_cell_but_no_tile(product, row, col):
    found = parse_patch(f"{product.mission}_MSIL2A_{product.acquired:%Y%m%dT%H%M%S}_{col}_{row}")
    assert (found.row, found.col) == (row, col)
    assert (found.product.mission, found.product.acquired) == (product.mission, product.acquired)
    assert (found.product.tile, found.product.orbit, found.product.baseline) == ("", None, "")


@given(times)
def test_a_time_that_lost_its_leading_zeros_is_the_same_time(time):
    clock = f"{time:%H%M%S}"
    assert parse_time(f"{time:%Y%m%d}T{clock.lstrip('0') or '0'}") == time


def test_seconds_beyond_the_minute_are_carried_as_names_of_version_1_need():
    assert parse_time("20180204T94160") == datetime(2018, 2, 4, 9, 42, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "20170613", "20171313T101031", "20170613T256031", "20170613T106131", "2017T101031"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_time(text)


def test_a_product_of_the_form_before_december_2016_says_no_tile_and_no_baseline():
    found = parse_product("S2A_OPER_PRD_MSIL1C_PDMC_20151230T202002_R008_V20151230T105153_20151230T105153.SAFE")
    assert (found.tile, found.baseline, found.orbit) == ("", "", 8)
    assert found.acquired == datetime(2015, 12, 30, 10, 51, 53, tzinfo=UTC)
    assert found.processed == datetime(2015, 12, 30, 20, 20, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "name", ["", "S2A", "S2A_MSIL2A_20170613T101031", "L2A_T33UUP_A010320_20170613T101608", "S1A_X"]
)
def test_what_is_no_product_is_refused_by_name(name):
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        parse_product(name)


@pytest.mark.parametrize("name", ["", "a_1_2", "S2A_MSIL2A_20170613T101031", "S2A_MSIL2A_20170613T101031_1_x"])
def test_what_is_no_patch_is_refused_by_name(name):
    with pytest.raises(ValueError, match=re.escape(repr(name))):
        parse_patch(name)
    assert not is_patch(name)
