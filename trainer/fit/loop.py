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
from trainer.fit.loss import row_losses
from trainer.fit.metrics import LabelScores, best_score
from trainer.fit.optimisation import LearningRateSchedule, layer_wise_gradients, rate_at
from trainer.fit.optimiser import RunOptimiser
from trainer.model.batch_norm import count_single_pixel_layers, moving_statistics, share_step
from trainer.model.network import reseed_dropout
from trainer.workers.horovod import Workers
from trainer.workers.interruption import StopRequested

__all__ = ["TrainingSetup", "average_moving_statistics", "fit", "step_function", "weights_checksum"]

log = logging.getLogger(__name__)

TrainStep = Callable[[TensorBatch, tf.Tensor], tf.Tensor]
"""(batch, step as int64 scalar) -> (loss, loss with L2 penalties, share of workers that are asked to stop), float32,
shape (3,); see `step_function`."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainingSetup:
    """What the training loop needs: model, optimiser, schedule, sampler, batches."""

    model: keras.Model
    optimiser: RunOptimiser
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
    """Augmentation, its seed, loss, what is done to gradients, checkpoints within an epoch, the best network."""
    means: Sequence[npt.NDArray[np.float32]] = ()
    """Of each pixel array, (channel,): what stands for NaN in patches that are mixed; not needed of whole numbers."""
    single_label: bool = False
    """Whether each row has one label."""


def step_function(setup: TrainingSetup, workers: Workers) -> TrainStep:
    """One training step as a compiled graph, collective: (batch, step) -> losses and share of workers asked to stop.

    `step` is a scalar, dtype int64. The result is float32, shape (3,): the mean loss over the step's
    rows, without and with the penalties; and the share of workers that a signal had asked to stop when
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
    losses = row_losses(settings, setup.positive_weights, setup.single_label)
    # A Keras 3 variable wraps one of TensorFlow; the tape and Horovod need the latter.
    variables = [variable.value for variable in model.trainable_variables]

    def gradients_of(
        pixels: list[tf.Tensor], labels: tf.Tensor, weights: tf.Tensor, penalised: bool, training: bool
    ) -> tuple[tf.Tensor, list[tf.Tensor], list[tf.Tensor]]:
        """Sum of the rows' losses, the penalties, and the gradients of both; without the penalties if so asked."""
        with tf.GradientTape() as tape:
            logits = model(pixels if len(pixels) > 1 else pixels[0], training=training)
            loss = tf.reduce_sum(weights * losses(labels, logits))
            penalties = [tf.cast(term, tf.float32) for term in model.losses]
            total_loss = tf.add_n([loss, *penalties]) if penalised else loss
        return loss, penalties, tape.gradient(total_loss, variables)

    part_gradients = tf.function(gradients_of, jit_compile=True, autograph=False) if settings.xla else gradients_of

    def train_step(batch: TensorBatch, step: tf.Tensor, stop: tf.Tensor, own_rows: int, step_rows: int) -> tf.Tensor:
        """Train on one batch; returns loss, loss with penalties, and whether to stop, shape (3,)."""
        epoch = step // setup.sampler.steps_per_epoch
        pixels, labels = _augment(settings, batch, epoch, tf.gather(store_rows, batch.positions), setup.means)
        reseed_dropout(model, workers.rank, step)
        # without own rows the moving statistics stay, unless those are of all workers
        training = share_step(model, own_rows * workers.size / step_rows, step_rows) or own_rows > 0
        parts = np.array_split(np.arange(max(1, own_rows)), settings.accumulate)
        loss, penalties, gradients = tf.zeros([]), list[tf.Tensor](), list[tf.Tensor]()
        for rows in (slice(part[0], part[-1] + 1) for part in parts if len(part)):
            with tf.control_dependencies(gradients):  # one part after the other, for the memory of one
                of_part = ([x[rows] for x in pixels], labels[rows], batch.weights[rows])
                part_loss, penalties, added = part_gradients(*of_part, penalised=not gradients, training=training)
                loss += part_loss
                gradients = [a + b for a, b in zip(gradients, added, strict=True)] if gradients else added
        # Average the loss and the flag together with the gradients: an all-reduce of their own would be one more wait.
        *gradients, loss, stop = workers.average_as_ready([*gradients, loss, stop], settings.compress)
        if settings.lars:
            gradients = layer_wise_gradients(gradients, variables, settings.lars)
        if settings.clip:
            gradients, _ = tf.clip_by_global_norm(gradients, settings.clip)
        setup.optimiser.apply(gradients)
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
    take_step, steps_per_epoch, settings = step_function(setup, workers), setup.sampler.steps_per_epoch, setup.settings
    rate, asked_to_stop = math.nan, False
    _warn_of_single_rows(setup, workers)

    while (epoch := _next_epoch(setup, state)) is not None:
        if settings.patience and state.since_best >= settings.patience:
            log.info("%s on val has not improved for %d validations; stopping", settings.best_by, settings.patience)
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
                setup.optimiser.set_rate(rate)
            loss, total_loss, asked_to_stop = take_step(batch, tf.constant(step, tf.int64)).numpy().tolist()
            if not math.isfinite(total_loss):
                raise _divergence_error(f"the loss is {total_loss}", setup, state, step)
            state.step = step + 1
            workers.progress_count += 1

            # ---- its loss and times, a checkpoint within the epoch
            end = time.perf_counter()
            state.loss.append(loss)
            state.step_s.append(end - start)
            state.wait_s.append(ready - start)
            after_step()
            asked_to_stop = asked_to_stop or (workers.size == 1 and workers.signals.requested)
            if asked_to_stop:
                break
            every = settings.checkpoint_steps
            if every and state.step % every == 0 and state.step < steps.stop:  # at its end the epoch is saved anyway
                average_moving_statistics(setup.model, workers)
                save([LAST])
            start = time.perf_counter()

        # ---- workers had different batches: average their moving statistics, then score the network
        average_moving_statistics(setup.model, workers)
        if not all(np.isfinite(value).all() for value in setup.model.get_weights()):
            raise _divergence_error("a weight is not finite", setup, state, state.step - 1)
        trained = time.perf_counter()
        with setup.optimiser.averaged():
            try:
                if asked_to_stop:
                    raise StopRequested
                scores = validate(epoch)
            except StopRequested:
                scores, asked_to_stop = None, True
            else:
                better = _end_epoch(setup, state, epoch, scores, time.perf_counter() - trained)
                if better:
                    save([BEST])
        save([LAST])
        if asked_to_stop:
            return True
    return False


def _end_epoch(
    setup: TrainingSetup, state: TrainingState, epoch: int, scores: LabelScores | None, validating_s: float
) -> bool:
    """Record an epoch, and return whether the network is now the best of the run.

    `validating_s`: seconds that its scores took. Without any scores, an average of weights is the best network.
    """
    first = epoch * setup.sampler.steps_per_epoch
    scored = state.best != -1 or any(record["val"] is not None for record in state.by_epoch)
    better = bool(setup.settings.ema) and not scored
    if scores is not None:
        value = best_score(scores, setup.settings.best_by)
        better = not scored or value > state.best
        state.best, state.since_best = (value, 0) if better else (state.best, state.since_best + 1)
    state.by_epoch.append(
        {
            "epoch": epoch,
            "steps": state.step - first,
            "loss": float(np.mean(state.loss[first:])),
            "seconds": sum(state.step_s[first:]),
            "seconds_waiting": sum(state.wait_s[first:]),
            "seconds_validating": validating_s,
            "rate": rate_at(setup.schedule, (state.step - 1) / setup.sampler.steps_per_epoch),
            "val": scores,
        }
    )
    return better


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
        # of several parts that a batch is computed in, the last ones are the smallest
        per_worker = [len(sampler.rank_rows(step, rank)) for rank in range(sampler.size)]
        per_worker = [count and max(1, count // setup.settings.accumulate) for count in per_worker]
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
    moving = moving_statistics(model)
    for variable, mean in zip(moving, workers.average([tf.convert_to_tensor(v.value) for v in moving]), strict=True):
        variable.assign(mean)


def weights_checksum(model: keras.Model) -> str:
    """Checksum of all float weights of a model: BLAKE2b over their bytes, in order, as 16 hexadecimal digits."""
    weights = b"".join(value.tobytes() for value in model.get_weights() if value.dtype.kind == "f")
    return hashlib.blake2b(weights, digest_size=8).hexdigest()
