"""Rounds: every row in one, whole shards, the same number on every rank, and none that a full buffer waits for."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import full_products, products

from etl.plan.rounds import plan_rounds, predict_ready_s
from etl.plan.work import Cost, make_plan


def given_to(products, ranks, shard_rows=1):
    """Rows of each rank, ascending, and when each is ready."""
    works = make_plan(products, ranks, shard_rows=shard_rows).work
    rows = [[int(products[r.product].rows[k]) for r in s.patches for k in range(r.first, r.stop)] for s in works]
    return [np.array(mine, np.intp) for mine in rows], [
        predict_ready_s(s, dict(enumerate(products)), Cost()) for s in works
    ]


@given(products=products(), ranks=st.integers(1, 5), shard_rows=st.integers(1, 9), capacity=st.integers(1, 40))
@settings(max_examples=60)
def test_every_rank_writes_its_rows_once_in_as_many_rounds_in_whole_shards(products, ranks, shard_rows, capacity):
    store_rows = max((int(item.rows[-1]) + 1 for item in products if len(item.rows)), default=1)
    rows, ready = given_to(products, ranks, shard_rows)
    found = plan_rounds(rows, ready, capacity, shard_rows, store_rows)
    assert len(found) == ranks
    assert len({len(mine) for mine in found}) == 1
    for mine, wanted, times in zip(found, rows, ready, strict=True):
        assert len(times) == len(wanted)
        assert np.all(np.diff(times) > 0)
        held = [row for first, stop in mine for row in range(first, stop)]
        assert held == sorted(set(held))
        assert set(wanted.tolist()) <= set(held)
        assert {row // shard_rows for row in held} == {row // shard_rows for row in wanted.tolist()}
        assert all(stop - first <= max(capacity, shard_rows) for first, stop in mine)
        assert all(first % shard_rows == 0 and (stop % shard_rows == 0 or stop == store_rows) for first, stop in mine)


@given(products=products(), ranks=st.integers(1, 5), capacity=st.integers(1, 40))
@settings(max_examples=60)
def test_a_round_holds_what_is_ready_when_the_first_rank_can_take_no_more(products, ranks, capacity):
    rows, ready = given_to(products, ranks)
    found = plan_rounds(rows, ready, capacity, 1, 10_000)
    for ranges in zip(*found, strict=True):
        done = [int(np.searchsorted(mine, stop)) for mine, (_, stop) in zip(rows, ranges, strict=True)]
        took = [stop > first for first, stop in ranges]
        time_s = max(times[k - 1] for times, k, some in zip(ready, done, took, strict=True) if some)
        for mine, times, k, (first, stop) in zip(rows, ready, done, ranges, strict=True):
            if stop > first and k < len(mine) and times[k] <= time_s:
                assert stop - first == capacity or mine[k] > stop  # it can take no more


def seconds(rows, ready, found, buffers, write_s):
    """How long ranks take that have some buffers each and write together."""
    works = [np.diff(np.concatenate(([0], times))) for times in ready]
    now, free, freed = 0.0, [0.0] * len(rows), [[] for _ in rows]
    for ranges in zip(*found, strict=True):
        ends = [now]
        for rank, (first, stop) in enumerate(ranges):
            if stop > first:
                begin = freed[rank][-buffers] if len(freed[rank]) >= buffers else 0.0
                work = works[rank][slice(*np.searchsorted(rows[rank], (first, stop)))].sum()
                free[rank] = max(free[rank], begin) + work
                ends.append(free[rank])
        now = max(ends) + write_s
        for rank, (first, stop) in enumerate(ranges):
            if stop > first:
                freed[rank].append(now)
    return now


def test_ranks_that_write_a_full_tile_together_take_hardly_longer_than_the_slowest_alone():
    for ranks in (2, 3, 4):
        rows, ready = given_to(full_products(1), ranks)
        found = plan_rounds(rows, ready, 132, 1, 91 * 91)
        assert len(found[0]) <= 2 * max(-(-len(mine) // 132) for mine in rows)
        assert seconds(rows, ready, found, 2, 0.0) <= 1.02 * max(times[-1] for times in ready)
        together = [[(k, min(k + 132, len(mine))) for k in range(0, len(mine), 132)] for mine in rows]
        most = max(map(len, together))
        by_number = [
            [(int(mine[a]), int(mine[b - 1]) + 1) for a, b in cuts] + [(0, 0)] * (most - len(cuts))
            for mine, cuts in zip(rows, together, strict=True)
        ]
        assert seconds(rows, ready, by_number, 2, 0.0) > 1.05 * max(times[-1] for times in ready)
