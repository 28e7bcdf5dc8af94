"""The training loop, and the sum by which workers see that they hold the same weights."""

import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from trainer.data import augmentation as augment
from trainer.data.sampler import Deal
from trainer.fit.checkpoint import State
from trainer.fit.optimisation import Schedule, layer_rates, rate_at
from trainer.model.network import reseed
from trainer.workers.horovod import FAILED, WorkerError, Workers

__all__ = ["Course", "checksum", "fit", "settle", "step_function"]

log = logging.getLogger(__name__)

_EVERY_S = 10.0

Step = Callable[..., tf.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """What a run does, step by step."""

    model: keras.Model
    optimiser: keras.optimizers.Optimizer
    schedule: Schedule
    deal: Deal
    steps: int
    """Steps of the whole run."""
    batches: Callable[[range], Iterator[Any]]
    """This worker's batches of a range of steps, see `stream.Stream`."""
    rows: npt.NDArray[np.int64]
    """(row,): place in the store of each row, by which augmentation draws."""
    positive: npt.NDArray[np.float32]
    """(class,): what a label that is there counts for in the loss."""
    seed: int = 0
    turn: bool = False
    mixup: float = 0.0
    lars: float = 0.0
    compress: bool = False
    checkpoint_steps: int = 0
    patience: int = 0


def step_function(course: Course, workers: Workers) -> Step:
    """One training step as a graph, collective: (batch of `stream.Stream`, number of the step) -> float32,
    (2,): mean binary cross-entropy over the step's rows and the classes, and that with the network's own penalties.

    Loss and gradients are averaged over workers, those of the last layers first, so every worker takes the same step.
    """
    model, rows = course.model, tf.constant(course.rows)
    positive = tf.constant(course.positive)

    def step(pixels: Any, labels: tf.Tensor, weights: tf.Tensor, places: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        epoch, keys = number // course.deal.epoch_steps, tf.gather(rows, places)
        groups, truth = _augmented(course, list(pixels), tf.cast(labels, tf.float32), (epoch, keys))
        reseed(model, workers.rank, number)
        with tf.GradientTape() as tape:
            logits = model(groups if len(groups) > 1 else groups[0], training=True)
            entropy = tf.nn.weighted_cross_entropy_with_logits(truth, logits, positive)
            loss = tf.reduce_sum(weights * tf.reduce_mean(entropy, axis=1))
            total = tf.add_n([loss, *(tf.cast(term, tf.float32) for term in model.losses)])
        # Keras 3 variables wrap TensorFlow's, which are what a tape and Horovod know.
        gradients = tape.gradient(total, [variable.value for variable in model.trainable_variables])
        *gradients, loss, total = workers.average_as_ready([*gradients, loss, total], course.compress)
        if course.lars:
            gradients = layer_rates(gradients, [v.value for v in model.trainable_variables], course.lars)
        course.optimiser.apply(gradients, model.trainable_variables)
        return tf.stack([loss, total])

    graph: Step = tf.function(step, autograph=False)
    return graph


def _augmented(course: Course, groups: list[Any], truth: tf.Tensor, where: tuple[tf.Tensor, tf.Tensor]) -> Any:
    """(pixels of every data set, uint16; labels, float32), turned and mixed as the course says, in float32."""
    if not course.turn and not course.mixup:
        return groups, truth
    groups = [tf.cast(x, tf.float32) for x in groups]
    if course.turn:
        groups = augment.turn(groups, course.seed, *where)
    if course.mixup:
        *groups, truth = augment.mix([*groups, truth], course.mixup, course.seed, where)
    return [tf.cast(tf.round(x), tf.uint16) for x in groups], truth  # mixed to whole counts


def fit(
    course: Course,
    state: State,
    workers: Workers,
    validate: Callable[[int], dict[str, Any] | None],
    save: Callable[[bool], None],
) -> None:
    """Collective: train from `state` to the end of the course; all workers end with the same weights.

    `validate` scores the split val after an epoch, or gives None; `save` writes a checkpoint, and the best one too.

    Raises:
        WorkerError: the loss is not finite, on every worker in the same step.
    """
    # ---- every worker begins with worker 0's weights
    workers.broadcast([variable.value for variable in (*course.model.variables, *course.optimiser.variables)])
    loop = _Loop(course, state, workers, save, step_function(course, workers))
    epoch_steps = course.deal.epoch_steps

    # ---- one epoch, or what is left of it
    while state.step < course.steps:
        if course.patience and state.since_best >= course.patience:
            log.info("micro-F1 on val has not risen for %d validations; stopping", course.patience)
            return
        epoch = state.step // epoch_steps
        loop.run(range(state.step, min((epoch + 1) * epoch_steps, course.steps)))

        # ---- each worker has seen other batches: their moving statistics become one; then what they are worth
        settle(course.model, workers)
        if not all(np.isfinite(value).all() for value in course.model.get_weights()):
            raise _diverged("a weight is not finite", course, state, state.step - 1)
        trained, first = time.perf_counter(), epoch * epoch_steps
        scored = validate(epoch)
        better = scored is not None and scored["micro"]["f1"] > state.best
        if scored is not None:
            state.best, state.since_best = max(state.best, scored["micro"]["f1"]), 0 if better else state.since_best + 1
        state.by_epoch.append(
            {
                "epoch": epoch,
                "steps": state.step - first,
                "loss": float(np.mean(state.loss[first:])),
                "seconds": sum(state.step_s[first:]),
                "seconds_waiting": sum(state.wait_s[first:]),
                "seconds_validating": time.perf_counter() - trained,
                "rate": loop.rate,
                "val": scored,
            }
        )
        save(better)


@dataclass(slots=True, eq=False)
class _Loop:
    """The steps of a run, one batch each."""

    course: Course
    state: State
    workers: Workers
    save: Callable[[bool], None]
    step: Step
    rate: float = math.nan
    """What the optimiser goes by."""
    told: float = -math.inf
    """When the log last had a step."""

    def run(self, todo: range) -> None:
        """Collective: the steps `todo` of one epoch."""
        start = time.perf_counter()
        batches = self.course.batches(todo)
        for number in todo:
            batch = next(batches)
            ready = time.perf_counter()
            loss = self._step(number, batch)
            end = time.perf_counter()
            self.state.loss.append(loss)
            self.state.step_s.append(end - start)
            self.state.wait_s.append(ready - start)
            self._tell(loss, end - start, end)
            every = self.course.checkpoint_steps
            if every and self.state.step % every == 0 and self.state.step < todo.stop:
                settle(self.course.model, self.workers)
                self.save(False)
            start = time.perf_counter()

    def _step(self, number: int, batch: Any) -> float:
        """Collective: take step `number`; returns its loss without the network's own penalties."""
        rate = rate_at(self.course.schedule, number / self.course.deal.epoch_steps)
        if rate != self.rate:
            self.rate = rate
            self.course.optimiser.learning_rate.assign(rate)
        loss, total = self.step(*batch, tf.constant(number, tf.int64)).numpy().tolist()
        if not math.isfinite(total):
            raise _diverged(f"the loss is {total}", self.course, self.state, number)
        self.state.step = number + 1
        self.workers.advances += 1
        return float(loss)

    def _tell(self, loss: float, seconds: float, now: float) -> None:
        """Log a step every few seconds, and the last one."""
        if now - self.told >= _EVERY_S or self.state.step == self.course.steps:
            log.info("step %d of %d: loss %.4f, %.2f s a step", self.state.step, self.course.steps, loss, seconds)
            self.told = now


def _diverged(what: str, course: Course, state: State, number: int) -> WorkerError:
    rate = rate_at(course.schedule, number / course.deal.epoch_steps)
    before = " ".join(f"{value:.4g}" for value in state.loss[-5:]) or "none"
    return WorkerError(
        f"{what} in step {number + 1} of {course.steps}, at rate {rate:.4g}; last losses: {before}; "
        "try a smaller --rate or a longer --warmup",
        FAILED,
    )


def settle(model: keras.Model, workers: Workers) -> None:
    """Collective: give every worker the mean of all workers' moving statistics."""
    moving = [v for v in model.non_trainable_variables if keras.backend.is_float_dtype(v.dtype)]
    for variable, mean in zip(moving, workers.average([tf.convert_to_tensor(v.value) for v in moving]), strict=True):
        variable.assign(mean)


def checksum(model: Any) -> str:
    """BLAKE2b over the bytes of every float weight of a model, in order: 16 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=8)
    for value in model.get_weights():
        if value.dtype.kind == "f":
            digest.update(value.tobytes())
    return digest.hexdigest()
