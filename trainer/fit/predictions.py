"""Probabilities that a network predicts for rows of a store, computed by all workers together, and their scores."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from etl.exit_status import JobError
from trainer.config import EvaluateRunSettings
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import SelectedRows
from trainer.data.stream import BatchStream
from trainer.fit.metrics import DEFAULT_THRESHOLD, LabelScores, scores
from trainer.fit.trained_network import load_trained_network
from trainer.workers.horovod import Workers

__all__ = ["Predictor", "predict_rows", "predict_with_run", "predictor", "scores_by_threshold"]

Predictor = Callable[[Sequence[tf.Tensor]], tf.Tensor]
"""Pixels as stored, of every data set -> probabilities, float32, shape (batch, class)."""


def predictor(model: keras.Model) -> Predictor:
    """The network as a compiled graph from uint16 pixels to probabilities, float32, shape (batch, class)."""

    def predict(pixels: Sequence[tf.Tensor]) -> tf.Tensor:
        return tf.sigmoid(model(list(pixels) if len(pixels) > 1 else pixels[0], training=False))

    # tracing is enough: no branch depends on the values of a tensor
    graph: Predictor = tf.function(predict, autograph=False)
    return graph


def predict_rows(predict: Predictor, rows: SelectedRows, batch: int, workers: Workers) -> npt.NDArray[np.float32]:
    """Collective: probability of each class on each row, dtype float32, shape (row, class), on every worker.

    Raises:
        JobError: one is not a number, on every worker alike.
    """
    # in the order of the store, which a disk reads in sequence
    sampler = DistributedSampler(len(rows), batch, workers.size, block=0)
    stream = BatchStream(rows, batch, lambda step: sampler.rank_batch(step, workers.rank))
    classes = rows.labels.shape[1]
    positions, predicted = [np.empty(0, np.int64)], [np.empty((0, classes), np.float32)]
    for loaded in stream(range(sampler.epoch_steps)):
        own = loaded.weights.numpy() > 0  # the others are padding
        positions.append(loaded.positions.numpy()[own])
        predicted.append(predict(loaded.pixels).numpy()[own])
        workers.advances += 1
    probabilities = np.zeros((len(rows), classes), np.float32)
    for where, values in workers.gather((np.concatenate(positions), np.concatenate(predicted))):
        probabilities[where] = values
    if not np.isfinite(probabilities).all():
        raise JobError("probabilities must be numbers, the network gives none: its training has diverged")
    return probabilities


def predict_with_run(
    settings: EvaluateRunSettings, workers: Workers, labelled: bool
) -> tuple[SelectedRows, npt.NDArray[np.float32]]:
    """Collective: the rows of a store that a command asks for, and a run's probabilities, float32, shape (row, class).

    `labelled`: leave out rows without any label.

    Raises:
        JobError: the run or the store is not what it should be, on every worker alike.
    """
    model, rows = workers.agree(
        "opening run and store", lambda: load_trained_network(settings.run, settings.store, settings.split, labelled)
    )
    return rows, predict_rows(predictor(model), rows, settings.batch, workers)


def scores_by_threshold(
    rows: SelectedRows, probabilities: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32]
) -> dict[str, LabelScores]:
    """Scores at the default threshold and at one for each class, dtype float32, shape (class,); keys of run.json."""
    return {
        "at_half": scores(rows.labels, probabilities, DEFAULT_THRESHOLD, rows.classes),
        "tuned": scores(rows.labels, probabilities, thresholds, rows.classes),
    }
