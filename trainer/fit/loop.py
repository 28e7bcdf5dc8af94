"""The training loop, and the checksum by which workers see that they hold the same weights."""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from etl.exit_status import JobError
from trainer.config import RunSettings
from trainer.data.augmentation import mixup, random_flip_rotate
from trainer.data.sampler import DistributedSampler
from trainer.data.stream import TensorBatch
from trainer.fit.checkpoint import TrainingState
from trainer.fit.metrics import LabelScores
from trainer.fit.optimisation import LearningRateSchedule, layer_wise_gradients, rate_at
from trainer.model.network import reseed_dropout
from trainer.workers.horovod import Workers

__all__ = ["TrainingSetup", "average_moving_statistics", "fit", "step_function", "weights_checksum"]

log = logging.getLogger(__name__)

_LOG_INTERVAL_S = 10.0

Step = Callable[[TensorBatch, tf.Tensor], tf.Tensor]
"""See `step_function`."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSetup:
    """What a run does, step by step."""

    model: keras.Model
    optimiser: keras.optimizers.Optimizer
    schedule: LearningRateSchedule
    sampler: DistributedSampler
    steps: int
    """Steps of the whole run."""
    batches: Callable[[range], Iterator[TensorBatch]]
    """This worker's batches of a range of steps, see `stream.BatchStream`."""
    rows: npt.NDArray[np.int64]
    """(row,): place in the store of each training row; augmentation draws by it."""
    positive_weights: npt.NDArray[np.float32]
    """(class,): weight in the loss of a label that is present, against 1 for an absent one."""
    settings: RunSettings
    """Augmentation, its seed, LARS, compression of gradients, checkpoints within an epoch, patience."""


def step_function(setup: TrainingSetup, workers: Workers) -> Step:
    """One training step as a compiled graph, collective: (batch, number of the step, int64) -> two losses.

    They are dtype float32, shape (2,): the mean binary cross-entropy over the step's rows and the classes, and that
    plus the network's own penalties. Losses and gradients are averaged over workers, so all take the same step.
    """
    model, settings, rows = setup.model, setup.settings, tf.constant(setup.rows)
    positive_weights = tf.constant(setup.positive_weights)

    def step(batch: TensorBatch, number: tf.Tensor) -> tf.Tensor:
        epoch, places = number // setup.sampler.epoch_steps, tf.gather(rows, batch.positions)
        groups, labels = _augment(settings, batch, epoch, places)
        reseed_dropout(model, workers.rank, number)
        with tf.GradientTape() as tape:
            logits = model(groups if len(groups) > 1 else groups[0], training=True)
            entropy = tf.nn.weighted_cross_entropy_with_logits(labels, logits, positive_weights)
            loss = tf.reduce_sum(batch.weights * tf.reduce_mean(entropy, axis=1))
            total = tf.add_n([loss, *(tf.cast(term, tf.float32) for term in model.losses)])
        # Keras 3 variables wrap TensorFlow's, which are what a tape and Horovod know.
        weights = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(total, weights)
        # Losses travel with the gradients: an all-reduce of their own would be one more wait a step.
        *gradients, loss, total = workers.average_as_ready([*gradients, loss, total], settings.compress)
        if settings.lars:
            gradients = layer_wise_gradients(gradients, weights, settings.lars)
        setup.optimiser.apply(gradients, model.trainable_variables)
        return tf.stack([loss, total])

    graph: Step = tf.function(step, autograph=False)
    return graph


def _augment(
    settings: RunSettings, batch: TensorBatch, epoch: tf.Tensor, rows: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Pixels of every data set, uint16, and labels, float32, rotated and mixed as the settings say."""
    groups, labels = list(batch.pixels), tf.cast(batch.labels, tf.float32)
    if not settings.turn and not settings.mixup:
        return groups, labels
    groups = [tf.cast(x, tf.float32) for x in groups]
    if settings.turn:
        groups = random_flip_rotate(groups, settings.seed, epoch, rows)
    if settings.mixup:
        *groups, labels = mixup([*groups, labels], settings.mixup, settings.seed, epoch, rows)
    # Back to whole counts, so that the network's input is the same type with and without augmentation.
    return [tf.cast(tf.round(x), tf.uint16) for x in groups], labels


def fit(
    setup: TrainingSetup,
    state: TrainingState,
    workers: Workers,
    validate: Callable[[int], LabelScores | None],
    save: Callable[[bool], None],
) -> None:
    """Collective: train from `state` to the setup's last step; all workers end with the same weights.

    `state` takes the loss and the seconds of each step, and a record of each epoch. `validate` scores the split val
    after an epoch, or returns None. `save` writes a checkpoint, and the best one as well where its argument is true.

    Raises:
        JobError: the loss is not finite, on every worker in the same step.
    """
    # ---- every worker begins with worker 0's weights
    workers.broadcast([variable.value for variable in (*setup.model.variables, *setup.optimiser.variables)])
    take_step, epoch_steps = step_function(setup, workers), setup.sampler.epoch_steps
    rate, last_logged = math.nan, -math.inf

    while state.step < setup.steps:
        if setup.settings.patience and state.since_best >= setup.settings.patience:
            log.info("micro-F1 on val has not risen for %d validations; stopping", setup.settings.patience)
            return

        # ---- one epoch, or what is left of it
        epoch = state.step // epoch_steps
        steps = range(state.step, min((epoch + 1) * epoch_steps, setup.steps))
        start = time.perf_counter()
        batches = setup.batches(steps)
        for number in steps:
            batch = next(batches)
            ready = time.perf_counter()

            # ---- one step
            if (rate_now := rate_at(setup.schedule, number / epoch_steps)) != rate:
                rate = rate_now
                setup.optimiser.learning_rate.assign(rate)
            loss, total = take_step(batch, tf.constant(number, tf.int64)).numpy().tolist()
            if not math.isfinite(total):
                raise _divergence(f"the loss is {total}", setup, state, number)
            state.step = number + 1
            workers.advances += 1

            # ---- what it took, the log, a checkpoint within the epoch
            end = time.perf_counter()
            state.loss.append(loss)
            state.step_s.append(end - start)
            state.wait_s.append(ready - start)
            if end - last_logged >= _LOG_INTERVAL_S or state.step == setup.steps:
                log.info("step %d of %d: loss %.4f, %.2f s a step", state.step, setup.steps, loss, end - start)
                last_logged = end
            every = setup.settings.checkpoint_steps
            if every and state.step % every == 0 and state.step < steps.stop:  # the epoch's end saves by itself
                average_moving_statistics(setup.model, workers)
                save(False)
            start = time.perf_counter()

        # ---- each worker has seen other batches: average their moving statistics, then score the network
        average_moving_statistics(setup.model, workers)
        if not all(np.isfinite(value).all() for value in setup.model.get_weights()):
            raise _divergence("a weight is not finite", setup, state, state.step - 1)
        trained, first = time.perf_counter(), epoch * epoch_steps
        scores = validate(epoch)
        better = scores is not None and scores["micro"]["f1"] > state.best
        if scores is not None:
            state.best, state.since_best = max(state.best, scores["micro"]["f1"]), 0 if better else state.since_best + 1
        state.by_epoch.append(
            {
                "epoch": epoch,
                "steps": state.step - first,
                "loss": float(np.mean(state.loss[first:])),
                "seconds": sum(state.step_s[first:]),
                "seconds_waiting": sum(state.wait_s[first:]),
                "seconds_validating": time.perf_counter() - trained,
                "rate": rate,
                "val": scores,
            }
        )
        save(better)


def _divergence(what: str, setup: TrainingSetup, state: TrainingState, number: int) -> JobError:
    rate = rate_at(setup.schedule, number / setup.sampler.epoch_steps)
    before = " ".join(f"{value:.4g}" for value in state.loss[-5:]) or "none"
    return JobError(
        f"{what} in step {number + 1} of {setup.steps}, at rate {rate:.4g}; last losses: {before}; "
        "try a smaller --rate or a longer --warmup"
    )


def average_moving_statistics(model: keras.Model, workers: Workers) -> None:
    """Collective: give every worker the mean of all workers' moving statistics of batch normalisation.

    These are the mean and the variance of every normalised channel, shape (channel,).
    """
    moving = [v for v in model.non_trainable_variables if keras.backend.is_float_dtype(v.dtype)]
    for variable, mean in zip(moving, workers.average([tf.convert_to_tensor(v.value) for v in moving]), strict=True):
        variable.assign(mean)


def weights_checksum(model: keras.Model) -> str:
    """BLAKE2b over the bytes of every float weight of a model, in order: 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for value in model.get_weights():
        if value.dtype.kind == "f":
            digest.update(value.tobytes())
    return digest.hexdigest()
