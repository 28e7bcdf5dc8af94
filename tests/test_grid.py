"""Tiles, their corners and cells."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.grid import TileGrid, nominal_origin, patch_cell

# ESA's tiling grid: tile, EPSG code, easting and northing of the upper left corner in m.
TILES = [
    ("01CCV", 32701, 300000, 2000020),
    ("01CEH", 32701, 499980, 800020),
    ("07HFE", 32707, 600000, 6500020),
    ("33XWJ", 32633, 499980, 8900040),
    ("33UUP", 32633, 300000, 5400000),
    ("32VKM", 32632, 199980, 6700020),
    ("60WWV", 32660, 499980, 7500000),
    ("32MQE", 32732, 699960, 10000000),
    ("35WPN", 32635, 600000, 7300020),
    ("29SND", 32629, 499980, 4400040),
]


@pytest.mark.parametrize(("tile", "epsg", "ulx", "uly"), TILES)
def test_a_tile_begins_where_esas_tiling_grid_says(tile, epsg, ulx, uly):
    assert nominal_origin(tile) == TileGrid(epsg, ulx, uly)
    assert nominal_origin(f"T{tile}") == TileGrid(epsg, ulx, uly)


@given(st.sampled_from(TILES), st.integers(0, 90), st.integers(0, 90))
def test_a_corner_worked_out_from_a_cell_lies_in_that_cell(tile, j, i):
    grid = nominal_origin(tile[0])
    assert patch_cell(grid, grid.ulx + 1200 * i, grid.uly - 1200 * j) == (j, i)


@pytest.mark.parametrize("tile", ["", "33UU", "00UUP", "61UUP", "33IUP", "33UOP", "33UUW", "31UUP", "33uup", "33UUPX"])
def test_what_is_no_mgrs_square_is_refused(tile):
    with pytest.raises(ValueError, match=tile or "got ''"):
        nominal_origin(tile)


@pytest.mark.parametrize(("dx", "dy"), [(1, 0), (0, 10), (0.5, 0), (-600, 0)])
def test_a_corner_off_the_patch_grid_is_refused_with_its_exact_value(dx, dy):
    grid = nominal_origin("33UUP")
    with pytest.raises(ValueError, match=f"{grid.ulx + dx:.10g}, {grid.uly + dy:.10g}$"):
        patch_cell(grid, grid.ulx + dx, grid.uly + dy)


@pytest.mark.parametrize(("j", "i"), [(-1, 0), (0, -1), (91, 0), (0, 91)])
def test_a_patch_that_reaches_outside_its_tile_is_refused(j, i):
    grid = nominal_origin("33UUP")
    with pytest.raises(ValueError, match=f"91 x 91 cells, got row {j}, column {i}"):
        patch_cell(grid, grid.ulx + 1200 * i, grid.uly - 1200 * j)


@pytest.mark.parametrize("corner", [float("nan"), float("inf"), float("-inf")])
def test_a_corner_that_is_no_number_is_refused(corner):
    with pytest.raises(ValueError, match="patch grid"):
        patch_cell(nominal_origin("33UUP"), corner, corner)


@pytest.mark.parametrize("size", [0, -6, 100])
def test_a_tile_side_must_be_whole_60_m_pixels(size):
    with pytest.raises(ValueError, match=str(size)):
        TileGrid(32633, 0.0, 0.0, size)
