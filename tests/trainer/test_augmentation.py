"""Turns, flips and mixup: pure functions of (seed, epoch, row), right against numpy, spread as they should be."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from trainer.data.augmentation import mixup, random_flip_rotate, uniform_numbers

ROWS = tf.range(4000, dtype=tf.int64)
EPOCH = tf.constant(3, tf.int64)


def test_numbers_are_uniform_and_depend_on_seed_epoch_row_and_purpose():
    drawn = uniform_numbers(1, EPOCH, ROWS, 1).numpy()
    assert scipy.stats.kstest(drawn, "uniform").pvalue > 0.001
    others = [
        uniform_numbers(2, EPOCH, ROWS, 1),
        uniform_numbers(1, EPOCH + 1, ROWS, 1),
        uniform_numbers(1, EPOCH, ROWS + 1, 1),
        uniform_numbers(1, EPOCH, ROWS, 2),
    ]
    for other in others:
        assert abs(np.corrcoef(drawn, other.numpy())[0, 1]) < 0.06
    assert np.array_equal(drawn[100:200], uniform_numbers(1, EPOCH, ROWS[100:200], 1))


def test_every_patch_is_turned_one_of_eight_ways_all_alike_and_all_groups_the_same():
    fine = np.arange(16, dtype=np.uint16).reshape(1, 4, 4, 1).repeat(800, axis=0)
    coarse = np.arange(4, dtype=np.uint16).reshape(1, 2, 2, 1).repeat(800, axis=0)
    turned, turned_coarse = (
        x.numpy() for x in random_flip_rotate([tf.constant(fine), tf.constant(coarse)], 0, EPOCH, ROWS[:800])
    )
    ways = {}
    for k in range(4):
        for flip in (False, True):
            a, b = (np.rot90(x[0, ..., 0], k) for x in (fine, coarse))
            ways[(a[:, ::-1] if flip else a).tobytes()] = (b[:, ::-1] if flip else b).tobytes()
    seen = [x[..., 0].tobytes() for x in turned]
    assert len(set(seen)) == len(ways) == 8
    assert all(ways[x] == y[..., 0].tobytes() for x, y in zip(seen, turned_coarse, strict=True))
    assert scipy.stats.chisquare([seen.count(way) for way in ways]).pvalue > 0.001


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_takes_a_beta_weight_of_each_patch_and_its_labels_and_the_rest_of_the_next(alpha):
    patches = np.random.default_rng(0).random((4000, 2, 2, 1)).astype(np.float32)
    labels = np.eye(4000, 5, dtype=np.float32)
    labels[:, 4] = np.arange(4000)
    mixed, mixed_labels = (x.numpy() for x in mixup([tf.constant(patches), tf.constant(labels)], alpha, 0, EPOCH, ROWS))
    following = np.roll(labels[:, 4], -1)
    weight = (mixed_labels[:, 4] - following) / (labels[:, 4] - following)
    parts = np.linspace(0.1, 0.9, 9)
    np.testing.assert_allclose(np.quantile(weight, parts), scipy.stats.beta.ppf(parts, alpha, alpha), atol=0.04)
    own = weight[:, None, None, None]
    np.testing.assert_allclose(mixed, own * patches + (1 - own) * np.roll(patches, -1, axis=0), atol=2e-3)


def test_what_a_row_gets_does_not_depend_on_its_batch():
    patches = tf.constant(np.random.default_rng(0).integers(0, 9, (6, 3, 3, 2)).astype(np.uint16))
    whole = random_flip_rotate([patches], 5, EPOCH, ROWS[:6])[0].numpy()
    assert np.array_equal(whole[4:], random_flip_rotate([patches[4:]], 5, EPOCH, ROWS[4:6])[0])
