"""Learning rates against their closed forms, LARS against its formula, and how rare labels are made to count."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.imbalance import oversampled_rows, positive_weights
from trainer.fit.optimisation import LearningRateSchedule, rate_at


def schedule(**changed):
    return LearningRateSchedule(
        **{"base": 0.1, "worker_rows": 64, "workers": 8, "warmup_epochs": 5, "decay": "steps", "epochs": 100, **changed}
    )


@pytest.mark.parametrize(
    ("epoch", "factor"),
    [(0, 1 / 8), (2.5, (1 + 8) / 16), (5, 1), (29.99, 1), (30, 0.1), (59, 0.1), (60, 0.01), (80, 0.001), (99, 0.001)],
)
def test_the_papers_rate_is_a_tenth_k_n_over_256_with_warm_up_and_three_falls(epoch, factor):
    assert rate_at(schedule(), epoch) == pytest.approx(0.1 * 8 * 64 / 256 * factor, rel=1e-12)


@given(st.floats(5, 100))
def test_the_polynomial_ends_at_0(epoch):
    whole = 0.1 * 8 * 64 / 256
    assert rate_at(schedule(decay="polynomial"), epoch) == pytest.approx(whole * ((100 - epoch) / 95) ** 2, abs=1e-12)


@pytest.mark.parametrize("floor", [0.0, 0.1])
def test_the_cosine_rises_from_its_floor_and_falls_to_it(floor):
    whole = 0.1 * 8 * 64 / 256
    found = [rate_at(schedule(decay="cosine", floor=floor), epoch) / whole for epoch in (0, 2.5, 5, 52.5, 100, 120)]
    assert found == pytest.approx([floor, (1 + floor) / 2, 1, (1 + floor) / 2, floor, floor], abs=1e-12)


def test_one_worker_has_no_warm_up_to_climb():
    assert rate_at(schedule(workers=1), 0) == rate_at(schedule(workers=1), 10) == 0.1 * 64 / 256


@pytest.mark.parametrize("wrong", [{"decay": "sudden"}, {"base": 0}, {"epochs": 0}, {"warmup_epochs": -1}])
def test_a_schedule_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        schedule(**wrong)


def test_lars_scales_each_layer_by_its_weights_over_its_gradient_and_leaves_biases():
    import tensorflow as tf

    from trainer.fit.optimisation import layer_wise_gradients

    weights = [tf.constant([[3.0, 4.0]]), tf.constant([1.0, 2.0]), tf.zeros((2, 2))]
    gradients = [tf.constant([[0.0, 2.0]]), tf.constant([5.0, 5.0]), tf.ones((2, 2))]
    scaled = layer_wise_gradients(gradients, weights, 0.001)
    np.testing.assert_allclose(scaled[0], [[0.0, 2.0 * 0.001 * 5 / 2]], rtol=1e-6)
    assert np.array_equal(scaled[1], gradients[1])
    assert np.array_equal(scaled[2], gradients[2])


def test_at_power_1_both_sides_of_every_class_weigh_the_same():
    labels = np.array([[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]], np.uint8)
    assert positive_weights(labels, 1.0).tolist() == [3.0, 1.0, 1.0]
    assert positive_weights(labels, 0.0).tolist() == [1.0, 1.0, 1.0]


@given(st.integers(0, 1000), st.floats(0, 1))
def test_oversampling_keeps_every_row_and_repeats_rare_ones_by_the_square_root_rule(seed, frequent):
    labels = np.zeros((400, 3), np.uint8)
    labels[:, 0], labels[::40, 1] = 1, 1
    rows = oversampled_rows(labels, frequent, seed)
    times = np.bincount(rows, minlength=400)
    assert times.min() >= 1
    wanted = max(1.0, (frequent / (10 / 400)) ** 0.5)
    assert np.isin(times[::40], [np.floor(wanted), np.ceil(wanted), max(1, np.floor(frequent**0.5))]).all()
    assert np.array_equal(rows, oversampled_rows(labels, frequent, seed))
    assert frequent > 0 or len(rows) == 400
