"""The schedule of decoding: every block in time, none long before, and no patch row that has to wait for many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import products

from etl.plan.decode_schedule import schedule_decoding, smooth_load
from etl.plan.layers import Layer, blocks_of
from etl.plan.work import Block, PatchRange, ProductPatches, RankWork, make_plan


@given(data=st.data(), patches=st.integers(1, 60), horizon=st.integers(1, 80))
@settings(max_examples=100)
def test_a_block_is_decoded_before_its_first_patch_and_never_a_horizon_or_more_ahead(data, patches, horizon):
    first = np.array(sorted(data.draw(st.lists(st.integers(0, patches - 1), max_size=30))), np.intp)
    weight = np.array(data.draw(st.lists(st.integers(1, 10**7), min_size=len(first), max_size=len(first))), np.intp)
    before = smooth_load(first, weight, patches, horizon)
    assert np.all(np.diff(before) >= 0)
    assert np.all(before <= first)
    assert np.all(before >= 0)
    assert np.all(before > first - horizon)


@given(products=products(), ranks=st.integers(1, 5), shard_rows=st.integers(1, 9))
@settings(max_examples=60)
def test_a_rank_decodes_what_it_needs_and_nobody_sends_and_counts_who_needs_it(products, ranks, shard_rows):
    for work in make_plan(products, ranks, shard_rows=shard_rows).work:
        schedule, position, users = schedule_decoding(work, dict(enumerate(products))), 0, {}
        for part in work.patches:
            for k in range(part.first, part.stop):
                product = products[part.product]
                for number, layer in enumerate(product.layers):
                    found = blocks_of(layer, product.patch_row[k : k + 1], product.patch_col[k : k + 1])
                    for index in set(found.ravel().tolist()):
                        users.setdefault(Block(part.product, number, index), []).append(position)
                position += 1
        sent = set(work.sends)
        assert dict(schedule.uses) == {block: len(at) for block, at in users.items()}
        assert sorted(block for _, block in schedule.decodes) == sorted(users.keys() - sent - work.receives.keys())
        assert all(0 <= before <= users[block][0] for before, block in schedule.decodes)
        longest = max((at[-1] - at[0] + 1 for block, at in users.items()), default=1)
        assert longest >= schedule.lifetime or len(work.patches) > 1


@pytest.mark.parametrize("block_px", [1024, 640])
def test_no_row_of_patches_of_a_full_tile_waits_for_more_than_one_block_above_the_mean(block_px):
    cells = 91
    j, i = np.divmod(np.arange(cells**2), cells)
    layer = Layer("10m", 10, 4, (10980, 10980), (block_px, block_px))
    product = ProductPatches(np.arange(cells**2), j, i, (layer,))
    schedule = schedule_decoding(RankWork([PatchRange(0, 0, cells**2)]), {0: product})
    by_row = np.bincount([before // cells for before, _ in schedule.decodes], minlength=cells)
    assert by_row.sum() == layer.block_grid[0] * layer.block_grid[1]
    ahead = cells - 1 - -(-block_px // 120)  # the last rows need no blocks that are not there
    assert by_row[1:ahead].max() < by_row[1:ahead].mean() + 1
