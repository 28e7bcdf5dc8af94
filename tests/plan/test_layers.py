"""Layers of a product and their blocks."""

from etl.plan.layers import Layer, block_pixel_counts


def test_the_pixels_of_all_blocks_at_once_are_those_of_each():
    layer = Layer("20m", 20, 6, (5490, 3000), (640, 1024), 1)
    rows, columns = layer.block_grid
    assert block_pixel_counts(layer).tolist() == [layer.block_pixels(k) for k in range(rows * columns)]
    assert block_pixel_counts(layer).sum() == 6 * 5490 * 3000
