"""The loop: against Keras's own, killed and taken up again, at an end by numbers that are none, and what it refuses."""

import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from stores import TRAIN, VAL, small_rows, training_store
from training_setups import ALONE, RATE, make_setup, small_network

from etl.exit_status import JobError
from trainer.fit.checkpoint import BEST, LAST, Checkpoint, TrainingState
from trainer.fit.loop import fit, step_function
from trainer.model.network import NetworkDesign, build_network
from trainer.run import main


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "steps"),
    # The losses of an untrained ResNet-50 depend, after two steps, on how a sum was rounded.
    [(small_network, 20), (lambda rows: build_network(rows.pixels, NetworkDesign(5, l2=1e-4), 3), 2)],
    ids=["small", "resnet50"],
)
def test_the_loss_is_that_of_kerass_own_loop_on_the_same_arrays_in_the_same_order(tmp_path, network, steps):
    rows, side = small_rows(tmp_path / "pixels", 40, side=64), 64
    ours, theirs = network(rows), network(rows)
    setup, seen = make_setup(rows, ours, steps), []

    def arrays():
        stored = np.fromfile(tmp_path / "pixels", np.uint16).reshape(-1, side, side, 4)
        for step in range(steps):
            taken = setup.sampler.rank_batch(step, 0).positions
            yield stored[taken], rows.labels[taken].astype(np.float32)

    class Losses(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            self.model.reset_metrics()

        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["loss"])

    entropy, optimiser = keras.losses.BinaryCrossentropy(from_logits=True), keras.optimizers.SGD(RATE, 0.9, True)
    theirs.compile(optimiser, entropy)
    shapes = (tf.TensorSpec((8, side, side, 4), tf.uint16), tf.TensorSpec((8, 5), tf.float32))
    data = tf.data.Dataset.from_generator(arrays, output_signature=shapes)
    theirs.fit(data, epochs=1, verbose=0, callbacks=[Losses()])
    # Keras reports the loss with the penalties; ours keeps it without, so the graph of a step is called here.
    step = step_function(setup, ALONE)
    setup.optimiser.set_rate(RATE)
    numbers = enumerate(setup.batches(range(steps)))
    found = [step(batch, tf.constant(number, tf.int64)).numpy()[1] for number, batch in numbers]
    assert len(seen) == steps
    assert seen[-1] < seen[0] or steps < 20
    np.testing.assert_allclose(found, seen, rtol=1e-4)


def test_it_stops_when_validation_no_longer_rises_and_does_not_go_on_when_resumed(tmp_path):
    rows = small_rows(tmp_path / "pixels", 16)
    state, scores = TrainingState(), iter([0.1, 0.3, 0.2, 0.3, 0.9])
    saved = []

    def validate(epoch):
        return {"micro": {"f1": next(scores)}}

    setup = make_setup(rows, small_network(rows), 20, patience=2)
    fit(setup, state, ALONE, validate, saved.append)
    assert (state.step, state.best, len(state.by_epoch)) == (8, 0.3, 4)
    assert saved == [[BEST], [LAST], [BEST], [LAST], [LAST], [LAST]]
    fit(setup, state, ALONE, validate, saved.append)
    assert (state.step, len(saved)) == (8, 6)


def test_a_short_step_is_that_of_its_rows_without_padding(tmp_path):
    rows = small_rows(tmp_path / "pixels", 11)
    setups = [make_setup(rows, small_network(rows), 2), make_setup(rows, small_network(rows), 2, step_rows=3)]
    batch = next(setups[0].batches(range(1, 2)))
    assert (batch.weights.numpy() > 0).sum() == 3
    results = []
    for setup, taken in zip(setups, (batch, tf.nest.map_structure(lambda x: x[:3], batch)), strict=True):
        setup.optimiser.set_rate(RATE)
        results.append(step_function(setup, ALONE)(taken, tf.constant(1, tf.int64)).numpy())
    assert results[0].tolist() == results[1].tolist()
    one, other = (setup.model.get_weights() for setup in setups)
    assert [a.tobytes() for a in one] == [b.tobytes() for b in other]


@pytest.mark.slow
def test_a_single_row_at_the_end_of_an_epoch_does_not_destroy_a_network_whose_last_layers_see_one_pixel(
    tmp_path, caplog
):
    """ResNet-50 on patches of 32 px: with copies of the row as padding, its gradient was of the order of 1e10."""
    rows = small_rows(tmp_path / "pixels", 257)
    model = build_network(rows.pixels, NetworkDesign(5, norm_momentum=0.9), 3)
    setup, state, seen = make_setup(rows, model, 5, step_rows=64), TrainingState(), []
    before = []

    def after_step():
        now = model.get_weights()
        if before:
            seen.append(max(float(np.abs(a - b).max()) for a, b in zip(now, before.pop(), strict=True)))
        before.append(now)

    assert not fit(setup, state, ALONE, lambda epoch: None, lambda names: None, after_step)
    assert len(state.loss) == 5
    assert seen[-1] < 10 * max(seen[:-1])
    assert "the last step of each epoch has a single row, and 10 of 53 layers" in caplog.text


def command(store, out, *flags):
    return ["--store", store, "--out", out, "--bands", "rgb", "--batch", 2, "--network", "small", *flags]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("fit") / "store.h5"
    training_store(path, [TRAIN] * 7 + [VAL] * 2)
    return path


EXACT = ("--deterministic", "--threads", 1, "--epochs", 2, "--checkpoint-steps", 3, "--rate", 0.5)


def run(*flags, stop=None, at=0):
    """The command in a process of its own; `stop` is sent to it once its checkpoint says that `at` steps are done."""
    call = [sys.executable, "-m", "trainer.run", *map(str, flags)]
    with subprocess.Popen(call, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while stop and process.poll() is None:
            try:
                if Checkpoint.load(flags[3] / "checkpoint.npz").state.step >= at:
                    process.send_signal(stop)
                    break
            except ValueError:
                pass
            time.sleep(0.02)
        out, err = process.communicate(timeout=250)
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_run_that_is_killed_twice_and_resumed_ends_with_the_very_same_weights(tmp_path, store):
    # 4 steps an epoch; checkpoints after 3 (amid the first epoch), 4, 6 (amid the second), 8.
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    status, _, err = run(*command(store, whole, *EXACT))
    assert status == 0, err
    status, _, err = run(*command(store, killed, *EXACT), stop=signal.SIGKILL, at=3)
    assert status == -signal.SIGKILL, err
    first = Checkpoint.load(killed / "checkpoint.npz").state.step
    assert first in (3, 4)
    status, _, err = run(*command(store, killed, *EXACT, "--resume"), stop=signal.SIGTERM, at=6)
    assert status == 75, err
    assert f"resumed at step {first} of 8" in err
    assert "--resume continues" in err
    status, _, err = run(*command(store, killed, *EXACT, "--resume"))
    assert status == 0, err
    one, other = (Checkpoint.load(folder / "checkpoint.npz") for folder in (whole, killed))
    assert one.state.step == other.state.step == 8
    assert one.state.loss == other.state.loss
    assert [a.tobytes() for a in one.arrays] == [a.tobytes() for a in other.arrays]
    one, other = (json.loads((folder / "run.json").read_text()) for folder in (whole, killed))
    assert one["weights_checksums"] == other["weights_checksums"]
    assert [e["val"] for e in one["by_epoch"]] == [e["val"] for e in other["by_epoch"]]
    assert [e["loss"] for e in one["by_epoch"]] == [e["loss"] for e in other["by_epoch"]]


@pytest.mark.slow
def test_other_settings_and_other_networks_are_refused_with_what_differs(tmp_path, store, caplog):
    flags = [*map(str, command(store, tmp_path / "run", "--steps", 1, "--validate-every", 0))]
    assert main(flags) == 0
    assert main(flags) == 2
    assert "already contains a run (checkpoint.npz); choose another --out, or continue with --resume" in caplog.text
    assert main([*flags, "--resume", "--dropout", "0.3", "--momentum", "0.8"]) == 2
    assert "momentum was 0.9, is 0.8; dropout was 0.5, is 0.3" in caplog.text
    assert main([*flags, "--resume", "--bands", "all"]) == 2
    assert "bands was rgb, is all" in caplog.text
    # the same settings, yet another network, as another version of the program might have
    path = tmp_path / "run" / "checkpoint.npz"
    found = Checkpoint.load(path)
    Checkpoint(found.fingerprint, found.state, found.arrays[1:]).save(path)
    assert main([*flags, "--resume"]) == 2
    assert "is of another model: it holds shape" in caplog.text
    path.write_bytes(path.read_bytes()[:1000])
    assert main([*flags, "--resume"]) == 2
    assert "must be a checkpoint of trainer.run" in caplog.text


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_with_the_step_the_rate_and_the_last_losses(tmp_path, store, caplog):
    flags = command(store, tmp_path / "run", "--rate", 1e30, "--warmup", 0, "--epochs", 1)
    assert main([*map(str, flags)]) == 1
    said = caplog.records[-1].getMessage()
    assert "of 4, at rate 7.813e+27; last losses: " in said
    assert " in step " in said
    assert "smaller --rate" in said
    assert not (tmp_path / "run" / "checkpoint.npz").exists()


def test_weights_that_are_no_numbers_are_never_saved(tmp_path):
    rows, saved = small_rows(tmp_path / "pixels", 4), []
    model = small_network(rows)
    variable = next(v for v in model.non_trainable_variables if v.name == "moving_mean")
    variable.assign(np.full(variable.shape, np.nan))  # which no loss of training shows
    with pytest.raises(JobError, match=r"a weight is not finite in step 1 of 1, at rate 0\.01; last losses: "):
        fit(make_setup(rows, model, 1), TrainingState(), ALONE, lambda epoch: None, saved.append)
    assert not saved
