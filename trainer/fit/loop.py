"""The training loop, and the checksum by which workers verify that they have the same weights."""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
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
from trainer.fit.checkpoint import BEST, LAST, TrainingState
from trainer.fit.metrics import LabelScores
from trainer.fit.optimisation import LearningRateSchedule, layer_wise_gradients, rate_at
from trainer.model.network import reseed_dropout
from trainer.workers.horovod import Workers

__all__ = ["TrainingSetup", "average_moving_statistics", "fit", "step_function", "weights_checksum"]

log = logging.getLogger(__name__)

_LOG_INTERVAL_S = 10.0

TrainStep = Callable[[TensorBatch, tf.Tensor], tf.Tensor]
"""(batch, step as int64 scalar) -> (loss, loss with L2 penalties), float32, shape (2,); see `step_function`."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSetup:
    """What the training loop needs: model, optimiser, schedule, sampler, batches."""

    model: keras.Model
    optimiser: keras.optimizers.Optimizer
    schedule: LearningRateSchedule
    sampler: DistributedSampler
    total_steps: int
    """Steps of the whole run."""
    batches: Callable[[range], Iterator[TensorBatch]]
    """This worker's batches of a range of steps, see `stream.BatchStream`."""
    store_rows: npt.NDArray[np.int64]
    """(row,): row number in the store of each row of an epoch; decides its random numbers in augmentation."""
    positive_weights: npt.NDArray[np.float32]
    """(class,): weight in the loss of a label that is present, against 1 for an absent one."""
    settings: RunSettings
    """Augmentation, its seed, LARS, compression of gradients, checkpoints within an epoch, patience."""


def step_function(setup: TrainingSetup, workers: Workers) -> TrainStep:
    """One training step as a compiled graph, collective: (batch, step) -> (loss, loss with L2 penalties).

    `step` is a scalar, dtype int64. The result is float32, shape (2,): the mean binary cross-entropy over the step's
    rows and the classes, without and with the penalties. Losses and gradients are averaged over workers, so that all
    workers apply the same update.
    """
    model, settings, store_rows = setup.model, setup.settings, tf.constant(setup.store_rows)
    positive_weights = tf.constant(setup.positive_weights)

    def train_step(batch: TensorBatch, step: tf.Tensor) -> tf.Tensor:
        epoch = step // setup.sampler.steps_per_epoch
        pixels, labels = _augment(settings, batch, epoch, tf.gather(store_rows, batch.positions))
        reseed_dropout(model, workers.rank, step)
        with tf.GradientTape() as tape:
            logits = model(pixels if len(pixels) > 1 else pixels[0], training=True)
            entropy = tf.nn.weighted_cross_entropy_with_logits(labels, logits, positive_weights)
            loss = tf.reduce_sum(batch.weights * tf.reduce_mean(entropy, axis=1))
            total_loss = tf.add_n([loss, *(tf.cast(term, tf.float32) for term in model.losses)])
        # A Keras 3 variable wraps one of TensorFlow; the tape and Horovod need the latter.
        variables = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(total_loss, variables)
        # Average the losses together with the gradients: an all-reduce of their own would be one more wait per step.
        *gradients, loss, total_loss = workers.average_as_ready([*gradients, loss, total_loss], settings.compress)
        if settings.lars:
            gradients = layer_wise_gradients(gradients, variables, settings.lars)
        setup.optimiser.apply(gradients, model.trainable_variables)
        return tf.stack([loss, total_loss])

    graph: TrainStep = tf.function(train_step, autograph=False)
    return graph


def _augment(
    settings: RunSettings, batch: TensorBatch, epoch: tf.Tensor, store_rows: tf.Tensor
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Pixels, types as in `batch`, and labels, float32, augmented as the settings say; shapes as in `batch`."""
    pixels, labels = list(batch.pixels), tf.cast(batch.labels, tf.float32)
    if not settings.turn and not settings.mixup:
        return pixels, labels
    pixels = [tf.cast(x, tf.float32) for x in pixels]
    if settings.turn:
        pixels = random_flip_rotate(pixels, settings.seed, epoch, store_rows)
    if settings.mixup:
        *pixels, labels = mixup([*pixels, labels], settings.mixup, settings.seed, epoch, store_rows)
    # Back to whole counts, so that the network's input has the same dtype with and without augmentation.
    return [tf.cast(tf.round(x), stored.dtype) for x, stored in zip(pixels, batch.pixels, strict=True)], labels


def fit(
    setup: TrainingSetup,
    state: TrainingState,
    workers: Workers,
    validate: Callable[[int], LabelScores | None],
    save: Callable[[Sequence[str]], None],
) -> None:
    """Collective: train from `state` to the setup's last step; all workers end with the same weights.

    Loss and seconds of each step, and a record of each epoch, are appended to `state`. `validate(epoch)` scores the
    split val after an epoch, or returns None; `save(names)` writes a checkpoint to files of these names: `LAST` and, if
    the network is the best one so far, `BEST`.

    Raises:
        JobError: the loss or a weight is not finite, on every worker in the same step.
    """
    # ---- every worker begins with worker 0's weights
    workers.broadcast([variable.value for variable in (*setup.model.variables, *setup.optimiser.variables)])
    take_step, steps_per_epoch = step_function(setup, workers), setup.sampler.steps_per_epoch
    rate, last_logged = math.nan, -math.inf

    while state.step < setup.total_steps:
        if setup.settings.patience and state.since_best >= setup.settings.patience:
            log.info("micro-F1 on val has not risen for %d validations; stopping", setup.settings.patience)
            return

        # ---- one epoch, or what is left of it
        epoch = state.step // steps_per_epoch
        steps = range(state.step, min((epoch + 1) * steps_per_epoch, setup.total_steps))
        start = time.perf_counter()
        batches = setup.batches(steps)
        for step in steps:
            batch = next(batches)
            ready = time.perf_counter()

            # ---- one step
            if (rate_now := rate_at(setup.schedule, step / steps_per_epoch)) != rate:
                rate = rate_now
                setup.optimiser.learning_rate.assign(rate)
            loss, total_loss = take_step(batch, tf.constant(step, tf.int64)).numpy().tolist()
            if not math.isfinite(total_loss):
                raise _divergence_error(f"the loss is {total_loss}", setup, state, step)
            state.step = step + 1
            workers.progress_count += 1

            # ---- its loss and times, the log, a checkpoint within the epoch
            end = time.perf_counter()
            state.loss.append(loss)
            state.step_s.append(end - start)
            state.wait_s.append(ready - start)
            if end - last_logged >= _LOG_INTERVAL_S or state.step == setup.total_steps:
                log.info("step %d of %d: loss %.4f, %.2f s a step", state.step, setup.total_steps, loss, end - start)
                last_logged = end
            every = setup.settings.checkpoint_steps
            if every and state.step % every == 0 and state.step < steps.stop:  # at its end the epoch is saved anyway
                average_moving_statistics(setup.model, workers)
                save([LAST])
            start = time.perf_counter()

        # ---- workers had different batches: average their moving statistics, then score the network
        average_moving_statistics(setup.model, workers)
        if not all(np.isfinite(value).all() for value in setup.model.get_weights()):
            raise _divergence_error("a weight is not finite", setup, state, state.step - 1)
        trained, first = time.perf_counter(), epoch * steps_per_epoch
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
        save([LAST, BEST] if better else [LAST])


def _divergence_error(problem: str, setup: TrainingSetup, state: TrainingState, step: int) -> JobError:
    rate = rate_at(setup.schedule, step / setup.sampler.steps_per_epoch)
    before = " ".join(f"{value:.4g}" for value in state.loss[-5:]) or "none"
    return JobError(
        f"{problem} in step {step + 1} of {setup.total_steps}, at rate {rate:.4g}; last losses: {before}; "
        "try a smaller --rate or a longer --warmup"
    )


def average_moving_statistics(model: keras.Model, workers: Workers) -> None:
    """Collective: average the moving statistics of batch normalisation over workers, and give all of them the result.

    These are the mean and the variance of every normalised channel, shape (channel,).
    """
    moving = [v for v in model.non_trainable_variables if keras.backend.is_float_dtype(v.dtype)]
    for variable, mean in zip(moving, workers.average([tf.convert_to_tensor(v.value) for v in moving]), strict=True):
        variable.assign(mean)


def weights_checksum(model: keras.Model) -> str:
    """Checksum of all float weights of a model: BLAKE2b over their bytes, in order, as 16 hexadecimal digits."""
    weights = b"".join(value.tobytes() for value in model.get_weights() if value.dtype.kind == "f")
    return hashlib.blake2b(weights, digest_size=8).hexdigest()
