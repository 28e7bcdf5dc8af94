"""A whole training: build the network and its batches, resume, run the loop, score the best weights."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import tensorflow as tf

from etl.settings import settings_record
from trainer.config import RunSettings, band_selections
from trainer.data.imbalance import positive_weights
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.data.stream import BatchStream
from trainer.fit.checkpoint import BEST, LAST, Checkpoint, TrainingState, checkpoint_to_resume, run_fingerprint
from trainer.fit.loop import TrainingSetup, fit, weights_checksum
from trainer.fit.metrics import LabelScores
from trainer.fit.observer import TrainingObserver
from trainer.fit.optimisation import LearningRateSchedule
from trainer.fit.optimiser import build_optimiser
from trainer.fit.predictions import compile_predictor, predict_rows
from trainer.fit.trained_network import describe_network
from trainer.fit.transfer import freeze_stages, rate_factors, transfer_weights
from trainer.fit.validation import Validation
from trainer.model.network import NetworkDesign, build_network
from trainer.workers.horovod import Workers
from trainer.workers.supervisor import RESUME_ADVICE

__all__ = ["TrainingOutcome", "train_network"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingOutcome:
    """A finished training."""

    state: TrainingState
    """Losses and times of all steps, as worker 0 recorded them."""

    checksums: list[str]
    """Checksum of each worker's weights, by rank."""

    scores: dict[str, dict[str, LabelScores]]
    """Scores by split and kind of threshold, see `predictions.scores_by_threshold`."""

    network: dict[str, Any]
    """Inputs and classes, see `trained_network.describe_network`."""

    @property
    def weights_equal(self) -> bool:
        """Whether every worker ended with the same weights."""
        return len(set(self.checksums)) == 1


def train_network(
    settings: RunSettings,
    rows: SelectedRows,
    epoch_rows: SelectedRows,
    sampler: DistributedSampler,
    workers: Workers,
    observer: TrainingObserver,
) -> TrainingOutcome | None:
    """Collective: train on `rows` and write checkpoints into the run's folder; None if a signal has stopped it.

    `epoch_rows`: `rows` with those of rare classes repeated, shape (row,); `sampler` divides them among workers.

    Raises:
        JobError: the input is bad or the training diverges, on every worker alike.
    """
    # ---- an interrupted run to go on with; then network, optimiser and batches
    network, path = describe_network(rows), settings.out / LAST
    fingerprint = run_fingerprint(settings_record(settings), sampler, network)
    earlier = workers.on_every_worker("resuming", lambda: checkpoint_to_resume(path, fingerprint))
    setup = _training_setup(settings, rows, epoch_rows, sampler, workers, resumed=earlier is not None)
    state = TrainingState()
    variables = [*setup.model.variables, *setup.optimiser.variables]
    if earlier is not None:
        state = workers.on_every_worker("resuming", lambda: earlier.restore_run(path, variables))
    if state.step:
        log.info("resumed at step %d of %d", state.step, setup.total_steps)
        state.resumed_at += [state.step] * (state.step < setup.total_steps and state.step not in state.resumed_at)
    validation = _validation(setup, state, workers)
    start_s, first = time.perf_counter() - state.seconds, workers.rank == 0
    workers.on_worker_0("beginning the record", lambda: observer.begin(state, network))

    def save(names: Sequence[str]) -> None:
        state.seconds = time.perf_counter() - start_s
        if first:
            checkpoint = Checkpoint(fingerprint, state, [v.numpy() for v in variables])
            for name in names:
                checkpoint.save(settings.out / name)
            if LAST in names:
                observer.after_checkpoint()

    # ---- the loop
    validate = validation.after_epoch if validation else lambda epoch: None
    stopped = fit(setup, state, workers, validate, save, observer.after_step if first else lambda: None)
    workers.on_worker_0("ending the record", observer.end)
    if stopped:
        text = f"stopped by a signal after step {state.step} of {setup.total_steps}; {RESUME_ADVICE}"
        workers.on_worker_0("stopping", lambda: log.error("error: %s", text))
        return None

    # ---- scores and tuned thresholds of the network that trainer.evaluate is going to use
    checksums, scores = workers.allgather(weights_checksum(setup.model)), {}
    if validation is not None:
        model, path = setup.model, settings.out / BEST
        best = workers.on_every_worker(
            "reading the best network",
            # without such a file there was no validation yet, and the last weights are scored
            lambda: Checkpoint.load(path).restore_model(path, model) if path.exists() else state,
        )
        scores["val"] = validation.score_best(best.step)
    return TrainingOutcome(state, checksums, scores, network)


def _training_setup(
    settings: RunSettings,
    rows: SelectedRows,
    epoch_rows: SelectedRows,
    sampler: DistributedSampler,
    workers: Workers,
    resumed: bool,
) -> TrainingSetup:
    """Collective: network, optimiser, schedule and batches; `epoch_rows` are `rows` with rare ones repeated.

    A run that is `resumed` gets its weights later, from its checkpoint.
    """
    if settings.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if settings.precision == "bfloat16" else "float32")
    average = workers.average if settings.sync_norm and workers.size > 1 else None
    momentum = settings.norm_momentum ** (1 / settings.accumulate)  # each part moves the statistics
    design = NetworkDesign(
        len(rows.classes), settings.l2, settings.dropout, momentum, settings.weights,
        architecture=settings.network,
    )  # fmt: skip

    def build() -> keras.Model:
        model = build_network(rows.pixels, design, settings.seed, average)
        if settings.start_from is not None and not resumed:
            transfer_weights(settings.start_from, model, rows, design, settings.freeze)
        freeze_stages(model, design, settings.freeze)
        return model

    model = workers.on_every_worker("building the network", build)
    optimiser = build_optimiser(settings, model, rate_factors(model, design, settings.stage_decay))

    steps = settings.total_steps(sampler.steps_per_epoch)
    epochs = steps / sampler.steps_per_epoch
    return TrainingSetup(
        model, optimiser,
        LearningRateSchedule(
            settings.rate, sampler.batch, sampler.size, settings.warmup, settings.decay, epochs, settings.rate_floor
        ),
        sampler, steps,
        batches=BatchStream(epoch_rows, settings.batch, lambda step: sampler.rank_batch(step, workers.rank)),
        store_rows=epoch_rows.store_rows,
        positive_weights=positive_weights(rows.labels, settings.rare_weight),
        settings=settings,
        means=[item.mean for item in rows.pixels],
        single_label=rows.single_label,
    )  # fmt: skip


def _validation(setup: TrainingSetup, state: TrainingState, workers: Workers) -> Validation | None:
    """Collective: what scores the network on split val; None if that has no rows or `validate_every` is 0."""
    settings, rows = setup.settings, None
    if not settings.validate_every:
        return None
    try:
        rows = select_rows(settings.store, RowSelection(band_selections(settings.bands), "val", settings.classes))
    except ValueError as error:
        if workers.rank == 0:
            log.warning("no validation: %s", error)
    if not all(workers.allgather(rows is not None)) or rows is None:
        return None
    predict = partial(predict_rows, compile_predictor(setup.model, rows.single_label), rows, settings.batch, workers)
    return Validation(rows, predict, state, settings.validate_every)
