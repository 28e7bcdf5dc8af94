"""Plans: every row once, every block decoded once, whatever the number of ranks."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import full_products, products

from etl.plan.layers import Layer, blocks_of, patch_window
from etl.plan.work import Block, Cost, assign_tiles, make_plan

BALANCES = pytest.mark.parametrize("balance", ["cost", "paper"])


def needed_by(work, given_products):
    """Blocks that a work's patches need."""
    out = set()
    for part in work.patches:
        product, patches = given_products[part.product], slice(part.first, part.stop)
        for number, layer in enumerate(product.layers):
            found = blocks_of(layer, product.patch_row[patches], product.patch_col[patches])
            out |= {Block(part.product, number, int(index)) for index in found.ravel()}
    return out


@BALANCES
@given(products=products(), ranks=st.integers(1, 9), shard_rows=st.integers(1, 9))
@settings(max_examples=60)
def test_ranks_cover_every_pending_row_once_and_in_store_order(balance, products, ranks, shard_rows):
    plan = make_plan(products, ranks, balance, shard_rows=shard_rows)
    rows = [[int(products[r.product].rows[k]) for r in s.patches for k in range(r.first, r.stop)] for s in plan.work]
    assert all(mine == sorted(mine) for mine in rows)
    assert sorted(row for mine in rows for row in mine) == sorted(int(r) for p in products for r in p.rows)


@BALANCES
@given(products=products(), ranks=st.integers(1, 9), shard_rows=st.integers(1, 40))
@settings(max_examples=60)
def test_a_shard_belongs_to_one_rank(balance, products, ranks, shard_rows):
    owners = {}
    for rank, work in enumerate(make_plan(products, ranks, balance, shard_rows=shard_rows).work):
        for part in work.patches:
            for row in products[part.product].rows[part.first : part.stop].tolist():
                owners.setdefault(row // shard_rows, set()).add(rank)
    assert all(len(ranks) == 1 for ranks in owners.values())


@BALANCES
@given(products=products(), ranks=st.integers(1, 9), shard_rows=st.integers(1, 9))
@settings(max_examples=60)
def test_every_needed_block_is_decoded_by_exactly_one_rank_and_reaches_all_that_need_it(
    balance, products, ranks, shard_rows
):
    plan = make_plan(products, ranks, balance, shard_rows=shard_rows)
    decoded, got = Counter(), Counter()
    for rank, work in enumerate(plan.work):
        needed = needed_by(work, products)
        sent = set(work.sends)
        decoded.update(sent | (needed - work.receives.keys()))
        assert not sent & work.receives.keys()
        assert work.receives.keys() <= needed
        for block, others in work.sends.items():
            assert rank not in others
            got.update((block, other) for other in others)
            assert all(plan.work[other].receives[block] == rank for other in others)
    assert set(decoded.values()) <= {1}
    assert set(got) == {(block, rank) for rank, work in enumerate(plan.work) for block in work.receives}
    assert plan.blocks == len(decoded)


@given(products=products(), ranks=st.integers(1, 9))
@settings(max_examples=40)
def test_without_shards_blocks_go_from_higher_to_lower_ranks_only(products, ranks):
    for rank, work in enumerate(make_plan(products, ranks).work):
        assert all(source > rank for source in work.receives.values())


def test_with_whole_shards_a_block_may_also_go_to_a_higher_rank():
    works = make_plan(full_products(1), 3, shard_rows=128).work
    assert any(source < rank for rank, work in enumerate(works) for source in work.receives.values())


@BALANCES
@given(products=products(), ranks=st.integers(1, 9), shard_rows=st.integers(1, 40))
@settings(max_examples=60)
def test_a_rank_can_send_all_its_blocks_before_it_receives_any_so_that_no_ranks_wait_in_a_circle(
    balance, products, ranks, shard_rows
):
    works = make_plan(products, ranks, balance, shard_rows=shard_rows).work
    sent = {(block, target) for work in works for block, targets in work.sends.items() for target in targets}
    for rank, work in enumerate(works):
        assert not work.sends.keys() & work.receives.keys()
        assert {(block, rank) for block in work.receives} <= sent


@given(products=products(), ranks=st.integers(2, 9), shard_rows=st.integers(1, 9))
@settings(max_examples=60)
def test_each_pair_of_ranks_sends_and_receives_in_the_same_order(products, ranks, shard_rows):
    works = make_plan(products, ranks, shard_rows=shard_rows).work
    for source, work in enumerate(works):
        for target in range(ranks):
            sent = [block for block, others in work.sends.items() if target in others]
            assert sent == [block for block, rank in works[target].receives.items() if rank == source]


def test_work_is_even_to_half_a_block_a_rank():
    product = full_products(1)[0]
    largest_s = Cost().block_s(product.layers[0], 0)
    for ranks in (2, 3, 7, 72):
        plan = make_plan([product], ranks)
        assert max(plan.busy_s) <= sum(plan.busy_s) / ranks + largest_s


def test_no_block_reaches_further_than_its_patches():
    layer = Layer("20m", 20, 6, (5490, 5490), (640, 640), 1)
    for j in (0, 10, 63, 90):
        row, _, rows, _ = patch_window(layer, j, 0)
        touched = {int(b) // layer.block_grid[1] for b in blocks_of(layer, np.array([j]), np.array([0])).ravel()}
        assert touched == {max(row, 0) // 640, min(row + rows - 1, 5489) // 640}


def test_algorithm_1_gives_the_rank_with_the_largest_tile_the_smallest_of_every_later_row_or_none():
    assert assign_tiles([70, 90, 10, 50, 30, 80, 20, 60], 3) == [(1, 4), (2, 3, 5), (0, 6, 7)]
    assert assign_tiles([5], 3) == [(0,), (), ()]
    assert assign_tiles([], 2) == [(), ()]


@given(patches=st.lists(st.integers(0, 8281), max_size=40), ranks=st.integers(1, 12))
def test_algorithm_1_assigns_every_tile_once(patches, ranks):
    assigned = assign_tiles(patches, ranks)
    assert sorted(tile for mine in assigned for tile in mine) == list(range(len(patches)))
    assert max(map(len, assigned)) - min(map(len, assigned)) <= 1


def test_a_plan_for_no_rank_or_of_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="at least one rank, got 0"):
        make_plan([], 0)
    with pytest.raises(ValueError, match="cost or paper, got 'fair'"):
        make_plan([], 1, "fair")


@given(products=products(), ranks=st.integers(1, 5), shard_rows=st.integers(1, 9))
@settings(max_examples=40)
def test_a_block_is_sent_to_each_other_rank_that_needs_it_and_to_no_other(products, ranks, shard_rows):
    work = make_plan(products, ranks, shard_rows=shard_rows).work
    needers: dict[Block, set[int]] = {}
    for rank, own in enumerate(work):
        for part in own.patches:
            product, at = products[part.product], slice(part.first, part.stop)
            for number, layer in enumerate(product.layers):
                for index in np.unique(blocks_of(layer, product.patch_row[at], product.patch_col[at])).tolist():
                    needers.setdefault(Block(part.product, number, index), set()).add(rank)
    for rank, own in enumerate(work):
        for block, receivers in own.sends.items():
            assert set(receivers) == needers.get(block, set()) - {rank}
            assert list(receivers) == sorted(receivers)
        assert all(block in work[owner].sends for block, owner in own.receives.items())
