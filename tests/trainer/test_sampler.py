"""Which row goes to whom: every row once an epoch, one order whatever the number of workers, equal steps."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.sampler import DistributedSampler, epoch_order

samplers = st.builds(
    DistributedSampler,
    rows=st.integers(1, 200),
    batch=st.integers(1, 9),
    size=st.integers(1, 7),
    seed=st.integers(0, 2**40),
)


def taken(sampler: DistributedSampler, epoch: int) -> list[int]:
    """Rows of an epoch without padding: step by step, rank by rank."""
    first = epoch * sampler.steps_per_epoch
    batches = [
        sampler.rank_batch(step, rank)
        for step in range(first, first + sampler.steps_per_epoch)
        for rank in range(sampler.size)
    ]
    return [int(row) for batch in batches for row in batch.positions[batch.weights > 0]]


@given(samplers, st.integers(0, 5))
def test_every_row_is_taken_exactly_once_an_epoch_over_all_workers(sampler, epoch):
    assert sorted(taken(sampler, epoch)) == list(range(sampler.rows))


@given(samplers, st.integers(0, 5))
def test_the_order_of_an_epoch_is_the_same_whatever_the_number_of_workers_and_the_batch(sampler, epoch):
    assert taken(sampler, epoch) == epoch_order(sampler.rows, sampler.seed, epoch).tolist()


@given(samplers)
def test_batches_are_whole_and_padded_with_rows_of_the_same_step(sampler):
    for step in range(sampler.steps_per_epoch):
        batches = [sampler.rank_batch(step, rank) for rank in range(sampler.size)]
        real = {int(row) for batch in batches for row in batch.positions[batch.weights > 0]}
        for batch in batches:
            assert batch.positions.shape == batch.weights.shape == (sampler.batch,)
            assert set(batch.positions.tolist()) <= real


@given(samplers)
def test_the_last_batch_is_dealt_evenly(sampler):
    own = [
        int((sampler.rank_batch(sampler.steps_per_epoch - 1, rank).weights > 0).sum()) for rank in range(sampler.size)
    ]
    assert max(own) - min(own) <= 1


@given(samplers)
def test_weighted_sums_averaged_over_workers_are_the_mean_over_the_rows_of_the_step(sampler):
    loss = np.random.default_rng(1).random(sampler.rows)
    for step in range(sampler.steps_per_epoch):
        batches = [sampler.rank_batch(step, rank) for rank in range(sampler.size)]
        averaged = np.mean([np.sum(batch.weights * loss[batch.positions]) for batch in batches])
        rows = np.concatenate([batch.positions[batch.weights > 0] for batch in batches])
        assert np.isclose(averaged, loss[rows].mean(), rtol=1e-5)


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
