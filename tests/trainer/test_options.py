"""Each option of a training keeps its promises on a small network: the same weights again, and after a resumption.

Two workers are in tests/parallel/test_trainer.py.
"""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from stores import small_rows
from training_setups import ALONE, RATE, make_setup, small_network

from trainer.config import BEST_BY, NETWORKS, RunSettings
from trainer.fit.checkpoint import BEST, LAST, TrainingState
from trainer.fit.loop import fit, step_function
from trainer.fit.metrics import best_score
from trainer.fit.optimiser import RunOptimiser, VariableGroup
from trainer.model.architectures import ARCHITECTURES
from trainer.model.network import NetworkDesign, build_network

OPTIONS = {
    "none": {},
    "adamw": {"optimiser": "adamw", "weight_decay": 0.0},
    "lamb": {"optimiser": "lamb", "weight_decay": 0.1},
    "lars": {"lars": 0.01},
    "ema": {"ema": 0.9},
    "accumulate": {"accumulate": 3},
    "clip": {"clip": 0.01},
    "focal": {"loss": "focal"},
    "asymmetric": {"loss": "asymmetric"},
    "label_smoothing": {"label_smoothing": 0.1},
    "xla": {"xla": True},
    "together": {"optimiser": "adamw", "ema": 0.9, "accumulate": 2, "clip": 0.1, "label_smoothing": 0.1},
}
STEPS = 4  # of 8 rows; an epoch has 16


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return small_rows(tmp_path_factory.mktemp("rows") / "pixels", 16)


def train(rows, options, stops=(STEPS,), network=small_network):
    """Weights, losses and what was saved by name, after a training that is stopped and resumed after these steps."""
    state, arrays, saved = TrainingState(), None, {}
    for stop in stops:
        keras.utils.clear_session()
        setup = make_setup(rows, network(rows), stop, **options)
        variables = [*setup.model.variables, *setup.optimiser.variables]
        for variable, value in zip(variables, arrays or (), strict=arrays is not None):
            variable.assign(value)

        def save(names, variables=variables):
            saved.update({name: [v.numpy() for v in variables] for name in names})

        assert not fit(setup, state, ALONE, lambda epoch: None, save)
        arrays, state = [v.numpy() for v in variables], copy.deepcopy(state)
    return arrays, state.loss, saved


@pytest.fixture(scope="module")
def plain(rows):
    """A training without options."""
    return train(rows, {})


@pytest.mark.parametrize("name", OPTIONS)
def test_a_training_gives_the_same_weights_after_a_resumption(rows, plain, name):
    # on one thread sums have one order; these networks are small enough to have one anyway
    whole, resumed = train(rows, OPTIONS[name]), train(rows, OPTIONS[name], (3, STEPS))
    assert resumed[1] == whole[1]
    assert all(np.array_equal(a, b) for a, b in zip(resumed[0], whole[0], strict=True))
    if name not in ("none", "ema", "xla"):  # these three leave the weights of the training as they are
        assert not all(np.array_equal(a, b) for a, b in zip(plain[0], whole[0], strict=False))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convnext_tiny", "small"])  # ResNet-50 is in tests/test_old_runs.py
def test_a_training_of_each_network_gives_the_same_weights_after_a_resumption(rows, name):
    def network(rows):
        return build_network(rows.pixels, NetworkDesign(5, 1e-4, 0.5, 0.9, architecture=name), 3)

    whole, resumed = (train(rows, {}, stops, network) for stops in ((2,), (1, 2)))
    assert np.isfinite(whole[1]).all()
    assert resumed[1] == whole[1]
    assert all(np.array_equal(a, b) for a, b in zip(resumed[0], whole[0], strict=True))


def test_an_average_of_weights_is_kept_as_the_best_network_and_leaves_the_training_as_it_is(rows, plain):
    averaged = train(rows, {"ema": 0.9})
    model = small_network(rows)
    places = [k for k, v in enumerate(model.variables) if any(v is one for one in model.trainable_variables)]
    for k in places:
        np.testing.assert_array_equal(averaged[2][LAST][k], plain[2][LAST][k])
    assert plain[2].keys() == {LAST}
    # by hand: after the first step the weights, then 0.9 of what was and 0.1 of what is
    wanted = None
    for step in range(1, STEPS + 1):
        weights = train(rows, {}, (step,))[0]
        wanted = weights if wanted is None else [0.9 * a + 0.1 * b for a, b in zip(wanted, weights, strict=True)]
    for k in places:
        np.testing.assert_allclose(averaged[2][BEST][k], wanted[k], rtol=1e-4, atol=1e-7)


def one_step(rows, model, **options):
    """Gradient steps that one batch gives at rate `RATE`: the weights' changes."""
    setup = make_setup(rows, model, 1, **options)
    setup.optimiser.set_rate(RATE)
    before = [v.numpy() for v in model.trainable_variables]
    (batch,) = setup.batches(range(1))
    step_function(setup, ALONE)(batch, tf.constant(0, tf.int64))
    return [v.numpy() - b for v, b in zip(model.trainable_variables, before, strict=True)]


def without_normalisation(rows):
    """A network in which the rows of a batch do not see each other."""
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input(rows.pixels[0].row_shape, dtype="uint16")
    x = keras.layers.Rescaling(1 / 5000, -1.0)(x)
    for count in (4, 8):
        x = keras.layers.Conv2D(count, 3, strides=2, activation="relu", kernel_regularizer=keras.regularizers.L2(0.1))(
            x
        )
    logits = keras.layers.Dense(rows.labels.shape[1])(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, logits)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_the_gradients_of_parts_are_those_of_the_whole_batch(rows, parts):
    whole = one_step(rows, without_normalisation(rows))
    found = one_step(rows, without_normalisation(rows), accumulate=parts)
    for a, b in zip(found, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-8)


def test_gradients_are_clipped_by_their_norm_together(rows):
    whole = one_step(rows, without_normalisation(rows), momentum=0.0)
    norm = np.sqrt(sum(np.square(x).sum() for x in whole)) / RATE
    found = one_step(rows, without_normalisation(rows), momentum=0.0, clip=float(norm / 4))
    for a, b in zip(found, whole, strict=True):
        np.testing.assert_allclose(a, b / 4, rtol=1e-3, atol=1e-7)


def test_each_group_of_weights_gets_its_fraction_of_the_rate(rows):
    model = without_normalisation(rows)
    variables = model.trainable_variables
    groups = []
    for factor, places in ((0.5, (0, 3)), (1.0, (1, 2, 4, 5))):
        optimiser = keras.optimizers.SGD(1.0)
        optimiser.build([variables[k] for k in places])
        groups.append(VariableGroup(optimiser, places, factor))
    optimiser = RunOptimiser(model, groups)
    optimiser.set_rate(0.1)
    before = [v.numpy() for v in variables]
    optimiser.apply([tf.ones(v.shape) for v in variables])
    for k, variable in enumerate(variables):
        np.testing.assert_allclose(variable.numpy() - before[k], -0.05 if k in (0, 3) else -0.1, rtol=1e-4)


def test_the_best_network_is_chosen_by_each_score():
    scores = {"micro": {"f1": 0.1}, "macro": {"f1": 0.2}, "micro_average_precision": 0.3}
    scores |= {"mean_average_precision": 0.4, "loss": 0.5}
    assert [best_score(scores, name) for name in BEST_BY] == [0.1, 0.2, 0.3, 0.4, -0.5]


@pytest.mark.parametrize("name", BEST_BY)
def test_the_first_validation_and_better_ones_are_saved_as_the_best_network(rows, name):
    values, saved = iter([0.5, 0.75, 0.25]), []

    def validate(epoch):
        value = next(values)
        scores = {"micro": {"f1": value}, "macro": {"f1": value}, "micro_average_precision": value}
        return scores | {"mean_average_precision": value, "loss": value}

    setup = make_setup(rows, small_network(rows), 6, best_by=name)
    assert not fit(setup, TrainingState(), ALONE, validate, saved.append)
    better = [True, False, True] if name == "loss" else [True, True, False]
    assert saved == [names for is_better in better for names in ([[BEST]] if is_better else []) + [[LAST]]]


def test_the_table_of_networks_has_an_entry_for_each_choice():
    assert tuple(ARCHITECTURES) == NETWORKS


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"lars": 0.1, "optimiser": "adamw"}, "--lars needs --optimiser sgd"),
        ({"sync_norm": True, "accumulate": 2}, "--accumulate must be 1"),
        ({"accumulate": 65}, "--accumulate must lie in"),
        ({"stage_decay": 0.0}, "--stage-decay must be above 0"),
        ({"ema": 1.0}, "--ema must lie in"),
        ({"callback": "mine"}, "--callback must be module:Class"),
        ({"xla": True, "sync_norm": True}, "--xla cannot compile"),
        ({"freeze": 1}, "--freeze keeps weights of"),
        ({"gamma": 0.5}, "--gamma must be 0 or at least 1"),
        ({"weights": "x.h5", "network": "small", "bands": "rgb"}, "--network must be one"),
        ({"weights": "x.h5", "start_from": "run", "bands": "rgb"}, "leave one out"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(settings, problem):
    with pytest.raises(ValueError, match=problem):
        RunSettings(**settings)
