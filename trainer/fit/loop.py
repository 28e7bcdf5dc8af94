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
from trainer.model.batch_norm import count_single_pixel_layers, share_step
from trainer.model.network import reseed_dropout
from trainer.workers.horovod import Workers
from trainer.workers.interruption import StopRequested

__all__ = ["TrainingSetup", "average_moving_statistics", "fit", "step_function", "weights_checksum"]

log = logging.getLogger(__name__)

_LOG_INTERVAL_S = 10.0

TrainStep = Callable[[TensorBatch, tf.Tensor], tf.Tensor]
"""(batch, step as int64 scalar) -> (loss, loss with L2 penalties, share of workers that are asked to stop), float32,
shape (3,); see `step_function`."""


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
    means: Sequence[npt.NDArray[np.float32]] = ()
    """Of each pixel array, (channel,): what stands for NaN in patches that are mixed; not needed of whole numbers."""


def step_function(setup: TrainingSetup, workers: Workers) -> TrainStep:
    """One training step as a compiled graph, collective: (batch, step) -> losses and share of workers asked to stop.

    `step` is a scalar, dtype int64. The result is float32, shape (3,): the mean binary cross-entropy over the step's
    rows and the classes, without and with the penalties; and the share of workers that a signal had asked to stop when
    they began the step, the same number on all. Losses and gradients are averaged over workers, so that all workers
    apply the same update. Padding of a short batch is left out; a second graph is compiled for its number of rows.
    """
    sampler, stop_flags = setup.sampler, [tf.constant(0.0), tf.constant(1.0)]
    graph = tf.function(_training_graph(setup, workers), autograph=False)

    def take_step(batch: TensorBatch, step: tf.Tensor) -> tf.Tensor:
        number = int(step)
        own_rows, step_rows = len(sampler.rank_rows(number, workers.rank)), len(sampler.step_rows(number))
        if own_rows < sampler.batch:
            kept = max(1, own_rows)  # without rows a worker takes part with a row of weight 0
            batch = tf.nest.map_structure(lambda x: x[:kept], batch)
        result: tf.Tensor = graph(batch, step, stop_flags[workers.signals.requested], own_rows, step_rows)
        return result

    return take_step


def _training_graph(setup: TrainingSetup, workers: Workers) -> Callable[..., tf.Tensor]:
    """The function (batch, step, stop flag, own rows, rows of all workers) -> result, as `step_function` describes it.

    TensorFlow traces it anew for other numbers of rows, which are Python's.
    """
    model, settings, store_rows = setup.model, setup.settings, tf.constant(setup.store_rows)
    positive_weights = tf.constant(setup.positive_weights)

    def train_step(batch: TensorBatch, step: tf.Tensor, stop: tf.Tensor, own_rows: int, step_rows: int) -> tf.Tensor:
        """Train on one batch; returns loss, loss with penalties, and whether to stop, shape (3,)."""
        epoch = step // setup.sampler.steps_per_epoch
        pixels, labels = _augment(settings, batch, epoch, tf.gather(store_rows, batch.positions), setup.means)
        reseed_dropout(model, workers.rank, step)
        shared = share_step(model, own_rows * workers.size / step_rows, step_rows)
        with tf.GradientTape() as tape:
            # without own rows the moving statistics stay, unless those are of all workers
            logits = model(pixels if len(pixels) > 1 else pixels[0], training=own_rows > 0 or shared)
            entropy = tf.nn.weighted_cross_entropy_with_logits(labels, logits, positive_weights)
            loss = tf.reduce_sum(batch.weights * tf.reduce_mean(entropy, axis=1))
            penalties = [tf.cast(term, tf.float32) for term in model.losses]
            total_loss = tf.add_n([loss, *penalties])
        # A Keras 3 variable wraps one of TensorFlow; the tape and Horovod need the latter.
        variables = [variable.value for variable in model.trainable_variables]
        gradients = tape.gradient(total_loss, variables)
        # Average the loss and the flag together with the gradients: an all-reduce of their own would be one more wait.
        *gradients, loss, stop = workers.average_as_ready([*gradients, loss, stop], settings.compress)
        if settings.lars:
            gradients = layer_wise_gradients(gradients, variables, settings.lars)
        setup.optimiser.apply(gradients, model.trainable_variables)
        return tf.stack([loss, tf.add_n([loss, *penalties]), stop])

    return train_step


def _augment(
    settings: RunSettings,
    batch: TensorBatch,
    epoch: tf.Tensor,
    store_rows: tf.Tensor,
    means: Sequence[npt.NDArray[np.float32]] = (),
) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Pixels, types as in `batch`, and labels, float32, augmented as the settings say; shapes as in `batch`.

    `means`: as of `TrainingSetup`.
    """
    pixels, labels = list(batch.pixels), tf.cast(batch.labels, tf.float32)
    if not settings.turn and not settings.mixup:
        return pixels, labels
    pixels = [tf.cast(x, tf.float32) for x in pixels]
    if settings.turn:
        pixels = random_flip_rotate(pixels, settings.seed, epoch, store_rows)
    if settings.mixup:
        # a patch without Sentinel-1 must not take that of the patch it is mixed with
        for k, mean in enumerate(means):
            if batch.pixels[k].dtype.is_floating:
                pixels[k] = tf.where(tf.math.is_nan(pixels[k]), mean, pixels[k])
        *pixels, labels = mixup([*pixels, labels], settings.mixup, settings.seed, epoch, store_rows)
    # Back to whole counts, so that the network's input has the same dtype with and without augmentation.
    as_stored = [
        x if stored.dtype.is_floating else tf.cast(tf.round(x), stored.dtype)
        for x, stored in zip(pixels, batch.pixels, strict=True)
    ]
    return as_stored, labels


def fit(
    setup: TrainingSetup,
    state: TrainingState,
    workers: Workers,
    validate: Callable[[int], LabelScores | None],
    save: Callable[[Sequence[str]], None],
    after_step: Callable[[], None] = lambda: None,
) -> bool:
    """Collective: train from `state` to the setup's last step; all workers end with the same weights.

    Loss and seconds of each step, and a record of each epoch, are appended to `state`. `validate(epoch)` scores the
    split val after an epoch, or returns None; `save(names)` writes a checkpoint to files of these names: `LAST` and, if
    the network is the best one so far, `BEST`. After a signal to any worker the step in progress ends, or the
    validation breaks off, and a checkpoint is saved. Returns whether this has happened, on every worker alike.

    Raises:
        JobError: the loss or a weight is not finite, on every worker in the same step.
        KeyboardInterrupt: a signal came to this worker after the last exchange of workers; all is saved.
    """
    with workers.signals.deferred():
        stopped = _train(setup, state, workers, validate, save, after_step)
        # Waits for worker 0, which saves: the job would end with the first worker that ends.
        stopped = workers.any_stop() or stopped
    if workers.signals.requested and not stopped:
        raise KeyboardInterrupt
    return stopped


def _train(
    setup: TrainingSetup,
    state: TrainingState,
    workers: Workers,
    validate: Callable[[int], LabelScores | None],
    save: Callable[[Sequence[str]], None],
    after_step: Callable[[], None],
) -> bool:
    """The loop of `fit`; returns whether a signal has stopped it, which its last checkpoint may not show."""
    # ---- every worker begins with worker 0's weights
    workers.broadcast([variable.value for variable in (*setup.model.variables, *setup.optimiser.variables)])
    take_step, steps_per_epoch = step_function(setup, workers), setup.sampler.steps_per_epoch
    rate, last_logged, asked_to_stop = math.nan, -math.inf, False
    _warn_of_single_rows(setup, workers)

    while (epoch := _next_epoch(setup, state)) is not None:
        if setup.settings.patience and state.since_best >= setup.settings.patience:
            log.info("micro-F1 on val has not risen for %d validations; stopping", setup.settings.patience)
            return False

        # ---- one epoch, or what is left of it
        state.by_epoch = [record for record in state.by_epoch if record["epoch"] < epoch]  # one may have been cut off
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
            loss, total_loss, asked_to_stop = take_step(batch, tf.constant(step, tf.int64)).numpy().tolist()
            if not math.isfinite(total_loss):
                raise _divergence_error(f"the loss is {total_loss}", setup, state, step)
            state.step = step + 1
            workers.progress_count += 1

            # ---- its loss and times, the log, a checkpoint within the epoch
            end = time.perf_counter()
            state.loss.append(loss)
            state.step_s.append(end - start)
            state.wait_s.append(ready - start)
            after_step()
            if end - last_logged >= _LOG_INTERVAL_S or state.step == setup.total_steps:
                log.info("step %d of %d: loss %.4f, %.2f s a step", state.step, setup.total_steps, loss, end - start)
                last_logged = end
            asked_to_stop = asked_to_stop or (workers.size == 1 and workers.signals.requested)
            if asked_to_stop:
                break
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
        try:
            if asked_to_stop:
                raise StopRequested
            scores = validate(epoch)
        except StopRequested:
            save([LAST])
            return True
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
                "rate": rate_at(setup.schedule, (state.step - 1) / steps_per_epoch),
                "val": scores,
            }
        )
        save([LAST, BEST] if better else [LAST])
    return False


def _next_epoch(setup: TrainingSetup, state: TrainingState) -> int | None:
    """The epoch to continue with; None if all steps are done and all epochs recorded.

    An epoch whose steps are done is not recorded if a signal has broken off its validation.
    """
    steps_per_epoch, done = setup.sampler.steps_per_epoch, state.step >= setup.total_steps
    last = (state.step - 1) // steps_per_epoch
    ended = state.step > 0 and (done or state.step % steps_per_epoch == 0)
    recorded = [record["epoch"] for record in state.by_epoch]
    if ended and last not in recorded:
        return last
    return None if done else state.step // steps_per_epoch


def _warn_of_single_rows(setup: TrainingSetup, workers: Workers) -> None:
    """Log on worker 0 if a step has a single row to normalise over where a feature map is 1 x 1."""
    sampler, shared = setup.sampler, setup.settings.sync_norm
    for step, when in ((0, "each step"), (sampler.steps_per_epoch - 1, "the last step of each epoch")):
        per_worker = [len(sampler.rank_rows(step, rank)) for rank in range(sampler.size)]
        if workers.rank or (sum(per_worker) if shared else min(filter(None, per_worker))) > 1:
            continue
        single, layers = count_single_pixel_layers(setup.model)
        if single:
            log.warning(
                "%s has a single row%s, and %d of %d layers of batch normalisation a feature map of 1 x 1: these "
                "normalise it by their moving statistics; avoid it with another --batch, or larger patches",
                when, "" if shared or sampler.size == 1 else " on a worker", single, layers,
            )  # fmt: skip
            return


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
