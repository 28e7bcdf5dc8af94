"""`python -m benchmarks.programs.seeds JOB.json RESULT.json`: scores by the trainer's loop and by `model.fit`, by seed.

For each seed both train the network `small` from the same initial weights on the same rows in the same order, without
augmentation and dropout. Both networks are scored on the split test at threshold 0.5.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.config import RunSettings, band_selections
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.data.stream import BatchStream
from trainer.fit.checkpoint import TrainingState
from trainer.fit.loop import TrainingSetup, fit
from trainer.fit.metrics import DEFAULT_THRESHOLD, score_predictions
from trainer.fit.optimisation import LearningRateSchedule
from trainer.fit.optimiser import build_optimiser
from trainer.fit.predictions import compile_predictor, predict_rows
from trainer.model.network import NetworkDesign, build_network
from trainer.workers.horovod import Workers

__all__ = ["main"]

_RATE = 0.02
"""Of SGD with Nesterov momentum, constant."""

_ALONE = Workers(None)


def _network(rows: SelectedRows, seed: int) -> keras.Model:
    return build_network(rows.pixels, NetworkDesign(len(rows.classes), 1e-4, 0.0, 0.9, architecture="small"), seed)


def _train_ours(rows: SelectedRows, sampler: DistributedSampler, epochs: int, seed: int) -> keras.Model:
    model, settings = _network(rows, seed), RunSettings(turn=False, mixup=0.0)
    optimiser = build_optimiser(settings, model, [1.0] * len(model.trainable_variables))
    schedule = LearningRateSchedule(_RATE * 256 / sampler.batch, sampler.batch, 1, 0, "none", epochs)
    stream = BatchStream(rows, sampler.batch, lambda step: sampler.rank_batch(step, 0))
    weights = np.ones(len(rows.classes), np.float32)
    steps = epochs * sampler.steps_per_epoch
    setup = TrainingSetup(model, optimiser, schedule, sampler, steps, stream, rows.store_rows, weights, settings)
    fit(setup, TrainingState(), _ALONE, lambda epoch: None, lambda names: None)
    return model


def _train_keras(rows: SelectedRows, sampler: DistributedSampler, epochs: int, seed: int) -> keras.Model:
    model, (item,) = _network(rows, seed), rows.pixels
    stored: npt.NDArray[np.uint16] = np.empty((len(rows), *item.row_shape), np.uint16)
    rows.reader.read_rows(item.name, rows.store_rows, stored)
    labels = rows.labels.astype(np.float32)

    def batches() -> Iterator[tuple[npt.NDArray[np.uint16], npt.NDArray[np.float32]]]:
        for step in range(epochs * sampler.steps_per_epoch):
            batch = sampler.rank_batch(step, 0)
            taken = batch.positions[batch.weights > 0]
            yield stored[taken], labels[taken]

    shapes = (tf.TensorSpec((None, *item.row_shape), tf.uint16), tf.TensorSpec((None, len(rows.classes)), tf.float32))
    data = tf.data.Dataset.from_generator(batches, output_signature=shapes)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(_RATE, momentum=0.9, nesterov=True), loss)
    model.fit(data, epochs=epochs, steps_per_epoch=sampler.steps_per_epoch, verbose=0)
    return model


def _measure(job: dict[str, Any]) -> list[dict[str, float]]:
    """Micro-F1 on the split test by seed and loop."""
    train, test = (
        select_rows(job["store"], RowSelection(band_selections("all"), split)) for split in ("train", "test")
    )
    found = []
    for seed in range(job["seeds"]):
        sampler = DistributedSampler(len(train), job["batch"], 1, seed)
        scored: dict[str, float] = {"seed": seed}
        for name, function in (("ours", _train_ours), ("keras", _train_keras)):
            keras.utils.clear_session()
            predict = compile_predictor(function(train, sampler, job["epochs"], seed), single_label=False)
            probabilities = predict_rows(predict, test, job["batch"], _ALONE)
            scores = score_predictions(test.labels, probabilities, DEFAULT_THRESHOLD, test.classes)
            scored[name] = scores["micro"]["f1"]
        found.append(scored)
    return found


def main(argv: list[str]) -> None:
    """Read the job and write the result, both as JSON files."""
    job, result = map(Path, argv)
    result.write_text(json.dumps(_measure(json.loads(job.read_text(encoding="utf-8")))), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
