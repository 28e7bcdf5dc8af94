"""The training loop, and the sum by which workers see that they hold the same weights."""

import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from trainer.parallel import FAILED, WorkerError, Workers

__all__ = ["History", "checksum", "fit", "step_function"]

log = logging.getLogger(__name__)

_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class History:
    """What was seen in each step, in order."""

    loss: list[float] = field(default_factory=list)
    """Mean binary cross-entropy over the step's rows of all workers and the classes."""

    step_s: list[float] = field(default_factory=list)
    """Seconds of the whole step on this worker, waiting included."""

    wait_s: list[float] = field(default_factory=list)
    """Seconds of it that this worker waited for its batch."""


def step_function(
    model: keras.Model, optimiser: keras.optimizers.Optimizer, workers: Workers
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]:
    """One training step as a graph, collective: (pixels, labels, weights) of `stream.batches` -> the loss, float32.

    Loss and gradients are averaged over workers in one grouped all-reduce, so every worker takes the same step.
    """

    def step(pixels: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(pixels, training=True)
            entropy = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits)
            loss = tf.reduce_sum(weights * tf.reduce_mean(entropy, axis=1))
        # Keras 3 variables wrap TensorFlow's, which are what a tape and Horovod know.
        gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
        loss, *gradients = workers.average([loss, *gradients])
        optimiser.apply(gradients, model.trainable_variables)
        return loss

    graph: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] = tf.function(step)
    return graph


def fit(
    model: keras.Model, optimiser: keras.optimizers.Optimizer, batches: tf.data.Dataset, workers: Workers
) -> History:
    """Collective: train on every batch, in order; all workers end with the same weights.

    Raises:
        WorkerError: the loss is not finite, on every worker in the same step.
    """
    # ---- every worker begins with worker 0's weights
    optimiser.build(model.trainable_variables)
    workers.broadcast([variable.value for variable in (*model.variables, *optimiser.variables)])
    step = step_function(model, optimiser, workers)
    history, steps, told = History(), int(batches.cardinality()), -math.inf

    # ---- one batch, one step
    source = iter(batches)
    for number in range(1, steps + 1):
        start = time.perf_counter()
        batch = next(source)
        ready = time.perf_counter()
        loss = float(step(*batch))
        end = time.perf_counter()
        history.loss.append(loss)
        history.step_s.append(end - start)
        history.wait_s.append(ready - start)
        if not math.isfinite(loss):
            text = f"the loss must stay finite, got {loss} in step {number} of {steps}; try a smaller --rate"
            raise WorkerError(text, FAILED)
        if end - told >= _EVERY_S or number == steps:
            log.info("step %d of %d: loss %.4f, %.2f s a step", number, steps, loss, history.step_s[-1])
            told = end

    # ---- each worker has seen other batches: their moving statistics become one
    moving = [v for v in model.non_trainable_variables if keras.backend.is_float_dtype(v.dtype)]
    for variable, mean in zip(moving, workers.average([tf.convert_to_tensor(v.value) for v in moving]), strict=True):
        variable.assign(mean)
    return history


def checksum(model: Any) -> str:
    """BLAKE2b over the bytes of every weight of a model, in order: 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for value in model.get_weights():
        digest.update(value.tobytes())
    return digest.hexdigest()
