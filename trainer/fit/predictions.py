"""Predict probabilities for rows of a store on all workers together, and score them."""

from collections.abc import Callable, Sequence
from itertools import chain

import keras
import numpy as np
import tensorflow as tf

from etl.exit_status import JobError
from trainer.config import EvaluateRunSettings
from trainer.data.sampler import NO_SHUFFLE, DistributedSampler
from trainer.data.selection import SelectedRows
from trainer.data.stream import BatchStream
from trainer.fit.metrics import DEFAULT_THRESHOLD, Floats, LabelScores, score_predictions
from trainer.fit.trained_network import load_trained_network
from trainer.model.network import to_probabilities
from trainer.workers.devices import configure_worker_devices
from trainer.workers.horovod import Workers
from trainer.workers.interruption import StopRequested
from trainer.workers.stop_poll import StopPoll

__all__ = [
    "Predictor",
    "compile_predictor",
    "load_and_predict",
    "load_network",
    "predict_rows",
    "scores_by_threshold",
]

Predictor = Callable[[Sequence[tf.Tensor]], tf.Tensor]
"""Pixels of each pixel array, as stored, (batch, row, col, band) -> probabilities, float32, (batch, class)."""


def compile_predictor(model: keras.Model, single_label: bool) -> Predictor:
    """The network as a compiled graph from stored pixels to probabilities, float32, shape (batch, class).

    With one label a row, `single_label`, those of a row sum to 1.
    """

    def predict(pixels: Sequence[tf.Tensor]) -> tf.Tensor:
        logits = model(list(pixels) if len(pixels) > 1 else pixels[0], training=False)
        return to_probabilities(logits, single_label)

    # without AutoGraph: no Python branch here depends on the value of a tensor
    graph: Predictor = tf.function(predict, autograph=False)
    return graph


def predict_rows(predict: Predictor, rows: SelectedRows, batch: int, workers: Workers) -> Floats:
    """Collective: probability of each class on each row, dtype float32, shape (row, class), on every worker.

    Raises:
        JobError: a probability is not finite, on every worker alike.
        StopRequested: a signal came to any worker while signals were deferred, on every worker alike.
    """
    # rows in the order of the store, which a disk reads in sequence
    sampler = DistributedSampler(len(rows), batch, workers.size, shuffle_block=NO_SHUFFLE)
    stream = BatchStream(rows, batch, lambda step: sampler.rank_batch(step, workers.rank))
    parts, stop_requested = [], StopPoll(workers)
    for loaded in stream(range(sampler.steps_per_epoch)):
        real = loaded.weights.numpy() > 0  # padding has weight 0
        parts.append((loaded.positions.numpy()[real], predict(loaded.pixels).numpy()[real]))
        workers.progress_count += 1
        if stop_requested():
            raise StopRequested
    probabilities = np.zeros(rows.labels.shape, np.float32)
    for positions, values in chain.from_iterable(workers.allgather(parts)):
        probabilities[positions] = values
    if not np.isfinite(probabilities).all():
        raise JobError("the network predicts NaN: its training has diverged; train again with a smaller --rate")
    return probabilities


def load_network(
    settings: EvaluateRunSettings, workers: Workers, labelled_only: bool, check: Callable[[], None]
) -> tuple[keras.Model, SelectedRows]:
    """Collective: load a run's network, and select rows of a store as `settings` say.

    Call it before TensorFlow's first operation, because it chooses this worker's threads and GPU. `labelled_only`
    leaves out rows without any label. `check` is called first, on worker 0: it raises an error if the output cannot be
    written.

    Raises:
        JobError: the output, the run or the store cannot be used, on every worker alike.
    """
    configure_worker_devices(settings.threads, workers)  # before the first exchange, which starts TensorFlow
    workers.on_worker_0("checking the output", check)
    return workers.on_every_worker(
        "opening run and store",
        lambda: load_trained_network(settings.run, settings.store, settings.split, labelled_only),
    )


def load_and_predict(
    settings: EvaluateRunSettings, workers: Workers, labelled_only: bool, check: Callable[[], None]
) -> tuple[SelectedRows, Floats]:
    """Collective: as `load_network`, and predict the rows: probabilities, float32, shape (row, class).

    Raises:
        JobError: the output, the run or the store cannot be used, on every worker alike.
    """
    model, rows = load_network(settings, workers, labelled_only, check)
    return rows, predict_rows(compile_predictor(model, rows.single_label), rows, settings.batch, workers)


def scores_by_threshold(rows: SelectedRows, probabilities: Floats, thresholds: Floats) -> dict[str, LabelScores]:
    """Scores at the default threshold, "at_half", and at `thresholds`, "tuned"; these are keys of run.json.

    `probabilities`: float32, shape (row, class); `thresholds`: float32, shape (class,).
    """
    return {
        kind: score_predictions(rows.labels, probabilities, limits, rows.classes, rows.single_label)
        for kind, limits in (("at_half", DEFAULT_THRESHOLD), ("tuned", thresholds))
    }
