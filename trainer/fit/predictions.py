"""What a network gives for rows of a store, by all workers between them, and what it is worth."""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.config import EvaluateSettings
from trainer.data.sampler import Deal
from trainer.data.selection import SelectedRows
from trainer.data.stream import Stream
from trainer.fit.metrics import HALF, scores, tuned_thresholds
from trainer.fit.trained_network import rebuild
from trainer.workers.horovod import FAILED, WorkerError, Workers

__all__ = ["HALF", "both", "forward", "of_run", "probabilities", "scores", "tuned_thresholds"]


def forward(model: keras.Model) -> Any:
    """The network as a graph: pixels as stored -> probabilities, float32, shape (batch, class)."""

    def run(pixels: Any) -> tf.Tensor:
        return tf.sigmoid(model(list(pixels) if len(pixels) > 1 else pixels[0], training=False))

    return tf.function(run, autograph=False)


def probabilities(run: Any, rows: SelectedRows, batch: int, workers: Workers) -> npt.NDArray[np.float32]:
    """Collective: probability of each class on each row, float32, shape (row, class), on every worker.

    `run` is what `forward` gives.

    Raises:
        WorkerError: one is not a number, on every worker alike.
    """
    deal = Deal(len(rows), batch, workers.size, block=0)
    stream = Stream(rows, batch, lambda step: deal.share(step, workers.rank))
    places, found = [np.empty(0, np.int64)], [np.empty((0, rows.labels.shape[1]), np.float32)]
    for pixels, _, weights, taken in stream(range(deal.epoch_steps)):
        own = weights.numpy() > 0
        places.append(taken.numpy()[own])
        found.append(run(pixels).numpy()[own])
        workers.advances += 1
    out = np.zeros((len(rows), rows.labels.shape[1]), np.float32)
    for theirs, values in workers.gather((np.concatenate(places), np.concatenate(found))):
        out[theirs] = values
    if not np.isfinite(out).all():
        raise WorkerError("probabilities must be numbers, the network gives none: its training has diverged", FAILED)
    return out


def of_run(
    settings: EvaluateSettings, workers: Workers, labelled: bool
) -> tuple[SelectedRows, npt.NDArray[np.float32]]:
    """Collective: the rows of a store that a command asks for, and a run's probabilities for them.

    Raises:
        WorkerError: the run or the store is not what it should be, on every worker alike.
    """
    trained = workers.agree(
        "opening run and store", lambda: rebuild(settings.run, settings.store, settings.split, labelled)
    )
    return trained.rows, probabilities(forward(trained.model), trained.rows, settings.batch, workers)


def both(rows: SelectedRows, found: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32]) -> dict[str, Any]:
    """Scores at one half, and at a threshold for each class; see `metrics.scores`."""
    return {
        "at_half": scores(rows.labels, found, HALF, rows.classes),
        "tuned": scores(rows.labels, found, thresholds, rows.classes),
    }
