"""The trainer on several Horovod workers: what they tell each other, and that they end with equal weights."""

import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from commands import ranks
from stores import TRAIN, VAL, small_rows, training_store

from etl.exit_status import JobError
from etl.schema import SPLITS
from trainer.run import main
from trainer.workers.horovod import connect, message_ends

TEST = SPLITS.index("test")


def test_a_message_ends_once_it_has_16_mib():
    mib = 1 << 20
    assert message_ends([1, 15 * mib, mib, 20 * mib, 3, 4]) == [3, 4, 6]
    assert message_ends([16 * mib]) == [1]
    assert message_ends([]) == []


@pytest.mark.mpi(ranks=[3], timeout=280)
def test_workers_average_broadcast_gather_and_agree(mpi_ranks, comm):
    import tensorflow as tf

    workers = connect()
    assert (workers.rank, workers.size) == (comm.rank, mpi_ranks)
    mean = (mpi_ranks - 1) / 2
    first, second = workers.average([tf.fill([3], float(comm.rank)), tf.constant(2.0 * comm.rank)])
    np.testing.assert_allclose(first, [mean] * 3, rtol=1e-6)
    np.testing.assert_allclose(second, 2 * mean, rtol=1e-6)
    many = [tf.fill([size], float(comm.rank * size)) for size in (1, 5 << 20, 2, 3 << 20, 3)]
    for found, tensor in zip(workers.average_as_ready(many), many, strict=True):
        np.testing.assert_allclose(found, np.full(tensor.shape, mean * len(tensor)), rtol=1e-6)
    variable = tf.Variable([float(comm.rank + 5)])
    workers.broadcast([variable])
    assert variable.numpy().tolist() == [5.0]
    assert workers.allgather(f"r{comm.rank}") == [f"r{rank}" for rank in range(mpi_ranks)]

    def fail_on_one() -> int:
        if comm.rank == 1:
            raise ValueError("no such thing")
        return comm.rank

    message = rf"trying failed on 1 of {mpi_ranks} workers \[1\]; worker 1: no such thing"
    with pytest.raises(JobError, match=message):
        workers.on_every_worker("trying", fail_on_one)
    assert workers.on_every_worker("trying again", lambda: comm.rank) == comm.rank


@pytest.mark.mpi(ranks=[3], timeout=280)
def test_all_workers_hear_of_a_signal_to_one_after_the_same_piece_of_work(mpi_ranks, comm, monkeypatch):
    import trainer.workers.stop_poll as module
    from trainer.workers.interruption import StopSignals

    monkeypatch.setattr(module, "_INTERVAL_S", 0)
    with StopSignals() as signals:
        workers = connect(signals)
        ignored, heard = module.StopPoll(workers), module.StopPoll(workers)
        assert not any(ignored() for _ in range(3))  # without exchange, where a signal ends the command by itself
        with signals.deferred():
            found = []
            while not any(found):
                if comm.rank == 1 and len(found) == 3:
                    signal.raise_signal(signal.SIGUSR1)
                found.append(heard())
    assert found == [False, False, False, True]
    assert signals.requested == (comm.rank == 1)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """A store, and what two workers made of it: 11 training rows, so a step of 2 x 4 and one of 2 + 1 with padding."""
    folder = tmp_path_factory.mktemp("together")
    arrays = training_store(folder / "store.h5", [TRAIN] * 11 + [VAL] * 2 + [TEST] * 7)
    flags = (
        "--store", str(folder / "store.h5"), "--out", str(folder / "run"), "--bands", "rgb",
        "--batch", "4", "--network", "small",
    )  # fmt: skip
    done = ranks(2, "trainer.run", *flags, "--steps", "2", timeout=250)
    assert done.returncode == 0, done.stderr
    return SimpleNamespace(folder=folder, labels=arrays["classes"], said=done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_end_with_equal_weights(together):
    record = json.loads((together.folder / "run" / "run.json").read_text())
    assert record["workers"] == len(record["weights_checksums"]) == 2
    assert record["weights_equal"]
    assert len(set(record["weights_checksums"])) == 1
    assert record["patches"] == 11
    assert np.isfinite(record["loss"]).all()
    assert together.said.startswith("loss by step:")
    assert together.said.count("loss by step:") == 1


def trained(rows, network, steps, workers, **how):
    """Weights, trainable and moving, and losses after some steps, of all workers together."""
    import keras
    from training_setups import RATE, make_setup

    from trainer.fit.loop import average_moving_statistics, step_function

    # Tensors are sent by names that count the layers of this process, and worker 0 makes more networks.
    keras.utils.clear_session()
    model = network(rows, workers.average if workers.size > 1 else None)
    setup = make_setup(rows, model, steps, workers, **how)
    setup.optimiser.set_rate(RATE)
    import tensorflow as tf

    step = step_function(setup, workers)
    losses = [step(batch, tf.constant(k, tf.int64)).numpy() for k, batch in enumerate(setup.batches(range(steps)))]
    average_moving_statistics(model, workers)
    return *([v.numpy() for v in some] for some in (model.trainable_variables, model.non_trainable_variables)), losses


def farthest(found, wanted):
    """Largest distance of a weight from what it should be, against that one's norm."""
    norms = [(np.linalg.norm(a - b), np.linalg.norm(b)) for a, b in zip(found, wanted, strict=True)]
    return max(distance / max(norm, 1e-3) for distance, norm in norms)


def small(rows, average):
    from training_setups import small_network

    return small_network(rows, average)


def widened(average):
    """The same for tensors of several types, which Horovod does not take in one group."""
    import tensorflow as tf

    def wide(tensors, compress=False):
        means = average([tf.cast(x, tf.float64) for x in tensors], compress)
        return [tf.cast(mean, x.dtype) for mean, x in zip(means, tensors, strict=True)]

    return wide


def blocks(rows, average):
    """In float64: what rounding does to the gradients of an untrained ResNet is larger than the step."""
    import keras
    from training_setups import first_blocks

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    return first_blocks(rows, average)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.mpi(ranks=[2], timeout=580)
@pytest.mark.parametrize(
    ("network", "courses", "options"),
    [
        (small, {1: 1e-5, 20: 1e-4}, {}),
        (small, {20: 1e-4}, {"loss": "focal", "ema": 0.9, "clip": 0.1, "label_smoothing": 0.1}),
        (blocks, {1: 1e-5}, {}),
    ],
    ids=["small", "options", "blocks"],
)
def test_steps_of_two_workers_are_those_of_one_on_the_joined_batch(
    mpi_ranks, comm, mpi_tmp_path, network, courses, options
):
    """`courses`: the largest distance after so many steps."""
    from training_setups import ALONE

    rows = small_rows(mpi_tmp_path / f"pixels.{comm.rank}", 40, side=32)
    workers = connect()
    if network is blocks:
        workers.average = widened(workers.average)
    found = {steps: trained(rows, network, steps, workers, **options) for steps in courses}
    for weights, moving, _ in found.values():
        assert len(set(workers.allgather(b"".join(a.tobytes() for a in (*weights, *moving))))) == 1
    if comm.rank == 0:
        for steps, most in courses.items():
            compare(found[steps], trained(rows, network, steps, ALONE, **options), most)


def compare(together, alone, most):
    for found, wanted, limit in zip(together[:2], alone[:2], (most, 10 * most), strict=True):
        assert farthest(found, wanted) <= limit
    np.testing.assert_allclose(together[2], alone[2], rtol=most)


def unpadded(rows, sampler, steps):
    """The same by Keras alone, if the statistics of each worker's own rows normalise them, without any padding."""
    import keras
    import tensorflow as tf
    from training_setups import RATE, plain_network

    copies = [plain_network(rows) for _ in range(sampler.size)]
    optimisers = [keras.optimizers.SGD(RATE, momentum=0.9, nesterov=True) for _ in copies]
    for layer in (layer for model in copies for layer in model.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.9
    stored = np.empty((len(rows), *rows.pixels[0].row_shape), np.uint16)
    rows.reader.read_rows("data_10m", np.arange(len(rows)), stored)
    losses = []
    for step in range(steps):
        loss, gradients = 0.0, [0.0] * len(copies[0].trainable_variables)
        for rank, model in enumerate(copies):
            batch = sampler.rank_batch(step, rank)
            own = batch.positions[batch.weights > 0]
            if not len(own):
                continue
            with tf.GradientTape() as tape:
                logits = model(stored[own], training=True)
                entropy = tf.nn.sigmoid_cross_entropy_with_logits(rows.labels[own].astype(np.float32), logits)
                mine = tf.reduce_sum(tf.reduce_mean(entropy, axis=1)) / len(sampler.step_rows(step))
            parts = tape.gradient(mine, [variable.value for variable in model.trainable_variables])
            loss, gradients = loss + float(mine), [a + b for a, b in zip(gradients, parts, strict=True)]
        losses.append(loss)
        for layer, k in ((layer, k) for k, layer in enumerate(copies[0].trainable_variables) if "kernel" in layer.path):
            if "conv" in layer.path:
                gradients[k] += 2e-3 * layer.value
        for model, optimiser in zip(copies, optimisers, strict=True):
            optimiser.apply(gradients, model.trainable_variables)
    moving = [np.mean([value.numpy() for value in values], axis=0)
              for values in zip(*(model.non_trainable_variables for model in copies), strict=True)]  # fmt: skip
    return [v.numpy() for v in copies[0].trainable_variables], moving, losses


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.mpi(ranks=[2, 3], timeout=580)
def test_a_short_step_normalises_over_its_rows_alone(mpi_ranks, comm, mpi_tmp_path):
    """Those of all workers as if joined in one batch or, without synchronised normalisation, each worker's own."""
    from training_setups import ALONE, narrow_network, small_network

    from trainer.data.sampler import DistributedSampler

    step_rows, workers = 3 * mpi_ranks, connect()
    for remainder in (1, 5):  # one worker has a row, the others none; all have rows, the last one fewer
        rows = small_rows(mpi_tmp_path / f"pixels.{comm.rank}.{remainder}", step_rows + remainder, side=32)
        for network in (small_network, narrow_network):
            joined = trained(rows, network, 3, workers, step_rows=step_rows)
            assert len(set(workers.allgather(b"".join(a.tobytes() for a in (*joined[0], *joined[1]))))) == 1
            if comm.rank == 0:
                compare(joined, trained(rows, network, 3, ALONE, step_rows=step_rows), 3e-5)
        own = trained(rows, lambda rows, average: small_network(rows), 3, workers, step_rows=step_rows)
        if comm.rank == 0:
            weights, moving, losses = unpadded(rows, DistributedSampler(len(rows), 3, mpi_ranks, seed=1), 3)
            assert farthest(own[0], weights) <= 3e-5
            assert farthest(own[1], [value for value in moving if value.dtype == np.float32]) <= 1e-4
            np.testing.assert_allclose([loss for loss, *_ in own[2]], losses, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.mpi(ranks=[2], timeout=580)
def test_more_workers_than_rows_train_and_validate_all_the_same(mpi_ranks, comm, mpi_tmp_path):
    store, out = mpi_tmp_path / "store.h5", mpi_tmp_path / "run"
    if comm.rank == 0:
        training_store(store, [TRAIN, VAL])
    comm.Barrier()
    flags = (
        "--store",
        store,
        "--out",
        out,
        "--bands",
        "rgb",
        "--batch",
        2,
        "--epochs",
        1,
        "--sync-norm",
        "--network",
        "small",
    )
    assert main([str(flag) for flag in flags]) == 0
    comm.Barrier()
    record = json.loads((out / "run.json").read_text())
    assert (record["workers"], record["steps"], record["patches"]) == (2, 1, 1)
    assert record["weights_equal"]
    assert record["scores"]["val"]["at_half"]["rows"] == 1


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_scores_are_the_same_on_two_workers_and_those_of_scikit_learn_on_what_is_predicted(together, tmp_path):
    import pyarrow.parquet as pq
    from sklearn.metrics import average_precision_score, coverage_error, f1_score, label_ranking_loss, log_loss

    from trainer.report.__main__ import main as report

    run = together.folder / "run"
    place = ("--store", str(together.folder / "store.h5"), "--run", str(run), "--batch", "2")
    scored = []
    for size in (1, 2):
        done = ranks(size, "trainer.evaluate", *place, timeout=250)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("test: 7 rows, micro precision ")
        record = json.loads((run / "evaluate.test.json").read_text())
        scored.append(record["scores"])
    done = ranks(1, "trainer.predict", *place, "--split", "test", "--out", str(tmp_path / "p.parquet"))
    assert done.returncode == 0, done.stderr
    table = pq.read_table(tmp_path / "p.parquet")
    assert table.column_names[:5] == ["patch", "tile", "epsg", "ulx", "uly"]
    assert table.column_names[-1] == "labels"
    found = np.stack([table[name].to_numpy() for name in table.column_names[5:-1]], axis=1)
    labels = together.labels[13:]
    assert found.shape == labels.shape == (7, 43)
    for kind, per_class in (("at_half", False), ("tuned", True)):
        one, two = (score[kind] for score in scored)
        limits = [c["threshold"] for c in one["classes"]] if per_class else 0.5
        positive = found >= np.array(limits, np.float32)
        for mean in ("micro", "macro", "weighted"):
            assert one[mean] == pytest.approx(two[mean], abs=1e-6)
            assert one[mean]["f1"] == pytest.approx(f1_score(labels, positive, average=mean, zero_division=0))
        there = labels.any(axis=0)
        wanted = average_precision_score(labels[:, there], found[:, there])
        assert one["mean_average_precision"] == pytest.approx(wanted)
        assert two["mean_average_precision"] == pytest.approx(wanted, abs=1e-6)
        assert two["micro_average_precision"] == pytest.approx(average_precision_score(labels, found, average="micro"))
        assert two["ranking_loss"] == pytest.approx(label_ranking_loss(labels, found))
        assert two["coverage_error"] == pytest.approx(coverage_error(labels, found))
        assert two["loss"] == pytest.approx(log_loss(labels.ravel(), found.ravel()), rel=1e-5)
        low, high = two["intervals"]["micro_f1"]
        assert low <= two["micro"]["f1"] <= high
        assert "tiles" not in two  # this store names none
    assert sum(one["count"] for one in record["calibration"]["bins"]) == labels.size
    losses = -np.log(np.where(labels == 1, found, 1 - found)).mean(axis=1)
    with np.load(run / "samples.npz") as samples:
        assert samples["worst_loss"] == pytest.approx(np.sort(losses)[::-1], rel=1e-4)
        assert samples["worst_labels"].tolist() == labels[np.argsort(-losses)].tolist()
        assert samples["worst_rgb"].tobytes() == samples["rgb"][np.argsort(-losses)].tobytes()
    assert report([str(run), "--out", str(tmp_path / "report")]) == 0
    drawn = {path.name for path in (tmp_path / "report").glob("*.png")}
    assert {"precision_recall.png", "reliability.png", "samples_1.png", "worst_1.png"} <= drawn


@pytest.mark.mpi(ranks=[2], timeout=200)
def test_bad_input_is_told_once_by_worker_0(mpi_ranks, comm, mpi_tmp_path, caplog):
    assert main(["--store", str(mpi_tmp_path / "none.h5")]) == 2
    assert caplog.text.count("is not there") == (comm.rank == 0)
