"""The schedule of decoding: every block in time, none long before, and no patch row that has to wait for many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import tiles

from etl.plan.decode_schedule import schedule_decoding, smooth_load
from etl.plan.layers import Layer, blocks_of
from etl.plan.work import Block, PatchRange, RankWork, Tile, make_plan


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


@given(tiles=tiles(), ranks=st.integers(1, 5), shard_rows=st.integers(1, 9))
@settings(max_examples=60)
def test_a_rank_decodes_what_it_needs_and_nobody_sends_and_counts_who_needs_it(tiles, ranks, shard_rows):
    for work in make_plan(tiles, ranks, shard_rows=shard_rows).work:
        schedule, position, users = schedule_decoding(work, dict(enumerate(tiles))), 0, {}
        for part in work.patches:
            for k in range(part.first, part.stop):
                for number, layer in enumerate(tiles[part.tile].layers):
                    found = blocks_of(layer, tiles[part.tile].j[k : k + 1], tiles[part.tile].i[k : k + 1])
                    for index in set(found.ravel().tolist()):
                        users.setdefault(Block(part.tile, number, index), []).append(position)
                position += 1
        sent = {block for block, _ in work.sends}
        assert dict(schedule.uses) == {block: len(at) for block, at in users.items()}
        assert sorted(block for _, block in schedule.due) == sorted(users.keys() - sent - work.receives.keys())
        assert all(0 <= before <= users[block][0] for before, block in schedule.due)
        longest = max((at[-1] - at[0] + 1 for block, at in users.items()), default=1)
        assert longest >= schedule.lifetime or len(work.patches) > 1


@pytest.mark.parametrize("block_px", [1024, 640])
def test_no_row_of_patches_of_a_full_tile_waits_for_more_than_one_block_above_the_mean(block_px):
    cells = 91
    j, i = np.divmod(np.arange(cells**2), cells)
    layer = Layer("10m", 10, 4, (10980, 10980), (block_px, block_px))
    schedule = schedule_decoding(RankWork([PatchRange(0, 0, cells**2)]), {0: Tile(np.arange(cells**2), j, i, (layer,))})
    by_row = np.bincount([before // cells for before, _ in schedule.due], minlength=cells)
    assert by_row.sum() == layer.blocks[0] * layer.blocks[1]
    ahead = cells - 1 - -(-block_px // 120)  # the last rows need no blocks that are not there
    assert by_row[1:ahead].max() < by_row[1:ahead].mean() + 1
