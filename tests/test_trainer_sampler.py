"""Which row goes to whom: every row once an epoch, one order whatever the number of workers, equal steps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.sampler import Deal, epoch_order

deals = st.builds(
    Deal, rows=st.integers(1, 200), batch=st.integers(1, 9), size=st.integers(1, 7), seed=st.integers(0, 2**40)
)


def taken(deal: Deal, epoch: int) -> list[int]:
    """Rows of an epoch without padding: step by step, rank by rank."""
    first = epoch * deal.epoch_steps
    shares = [deal.share(step, rank) for step in range(first, first + deal.epoch_steps) for rank in range(deal.size)]
    return [int(row) for share in shares for row in share.rows[share.weights > 0]]


@given(deals, st.integers(0, 5))
def test_every_row_is_taken_exactly_once_an_epoch_over_all_workers(deal, epoch):
    assert sorted(taken(deal, epoch)) == list(range(deal.rows))


@given(deals, st.integers(0, 5))
def test_the_order_of_an_epoch_is_the_same_whatever_the_number_of_workers_and_the_batch(deal, epoch):
    assert taken(deal, epoch) == epoch_order(deal.rows, deal.seed, epoch).tolist()


@given(deals)
def test_batches_are_whole_and_padded_with_rows_of_the_same_step(deal):
    for step in range(deal.epoch_steps):
        shares = [deal.share(step, rank) for rank in range(deal.size)]
        real = {int(row) for share in shares for row in share.rows[share.weights > 0]}
        for share in shares:
            assert share.rows.shape == share.weights.shape == (deal.batch,)
            assert set(share.rows.tolist()) <= real


@given(deals)
def test_the_last_batch_is_dealt_evenly(deal):
    own = [int((deal.share(deal.epoch_steps - 1, rank).weights > 0).sum()) for rank in range(deal.size)]
    assert max(own) - min(own) <= 1


@given(deals)
def test_weighted_sums_averaged_over_workers_are_the_mean_over_the_rows_of_the_step(deal):
    loss = np.random.default_rng(1).random(deal.rows)
    for step in range(deal.epoch_steps):
        shares = [deal.share(step, rank) for rank in range(deal.size)]
        averaged = np.mean([np.sum(share.weights * loss[share.rows]) for share in shares])
        rows = np.concatenate([share.rows[share.weights > 0] for share in shares])
        assert np.isclose(averaged, loss[rows].mean(), rtol=1e-5)


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
