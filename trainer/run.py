"""`python -m trainer.run`: train on a store, alone or as one worker a rank under mpirun."""

from trainer.workers.supervisor import guard

if __name__ == "__main__":
    guard()  # goes on in the worker; what follows imports h5py

import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from etl.stderr import suppress_stderr
from trainer.config import RunSettings, pixel_sets
from trainer.data import imbalance
from trainer.data.sampler import Deal, Share
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.fit import checkpoint
from trainer.fit.checkpoint import BEST, LAST, State
from trainer.fit.optimisation import Schedule
from trainer.workers.command import claim, run_command
from trainer.workers.horovod import DONE, FAILED, Workers, watch

__all__ = ["main"]

log = logging.getLogger("trainer.run")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(RunSettings, "trainer.run", argv, train)


def train(settings: RunSettings, workers: Workers) -> int:
    """Collective: train as the settings say; returns the exit status.

    Raises:
        WorkerError: the input is bad, on every worker alike.
    """
    watch(workers, settings.stall)
    if workers.size > 1:  # what workers tell each other starts TensorFlow, which then takes no more settings
        claim(settings.threads, workers)
    wanted = RowSelection(pixel_sets(settings.bands), "train", settings.classes)
    rows = workers.agree("opening the store", lambda: select_rows(settings.store, wanted))
    sample = imbalance.repeated(rows.labels, settings.oversample, settings.seed)
    deal = Deal(len(sample), settings.batch, workers.size, settings.seed, settings.shuffle_block)
    steps = settings.steps or settings.epochs * deal.epoch_steps
    if workers.rank == 0:
        log.info("%s", plan(settings, rows, deal, steps))
    if settings.dry_run:
        return DONE
    workers.agree("making --out", lambda: _make_out(settings))
    return _train(settings, rows, (sample, deal, steps), workers)


def plan(settings: RunSettings, rows: SelectedRows, deal: Deal, steps: int) -> str:
    """What is going to be done, in words."""
    bands = ", ".join(f"{len(item.channels)} bands of {item.name}" for item in rows.pixels)
    left_out = f" ({rows.unlabelled} without label left out)" if rows.unlabelled else ""
    return (
        f"{len(rows)} training rows of {settings.store}{left_out}, {bands}; "
        f"{deal.size} x {deal.batch} patches a step, {deal.epoch_steps} steps an epoch, {steps} steps; "
        f"{deal.batch * rows.row_bytes / 2**20:.1f} MiB a batch"
    )


def _train(settings: RunSettings, rows: SelectedRows, dealt: tuple[Any, Deal, int], workers: Workers) -> int:
    with suppress_stderr():  # TensorFlow takes seconds: not for --help, a bad store or a dry run
        import keras

        from trainer.fit import loop as fit
        from trainer.fit import predictions as score
        from trainer.fit import trained_network as network
        from trainer.model.network import build
        from trainer.report import record
    if workers.size == 1:
        claim(settings.threads, workers)
    if settings.deterministic:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if settings.precision == "bfloat16" else "float32")
    described = network.described(rows)
    design = network.design_of(settings, len(rows.classes))
    average = workers.average if settings.sync_norm and workers.size > 1 else None
    model = workers.agree("building the network", lambda: build(rows.pixels, design, settings.seed, average))
    course = _course(settings, rows, dealt, (model, workers))
    begun_with = checkpoint.begun_with(asdict(settings), course.deal, described)
    variables = [*model.variables, *course.optimiser.variables]
    state = workers.agree("resuming", lambda: _begin(settings, begun_with, variables))
    if workers.rank == 0 and state.step:
        log.info("resumed at step %d of %d", state.step, course.steps)

    def save(best: bool) -> None:
        if workers.rank == 0:
            found = checkpoint.Checkpoint(begun_with, state, [v.numpy() for v in variables])
            for name in (LAST, BEST) if best else (LAST,):
                checkpoint.save(settings.out / name, found)

    val = _validation(settings, workers) if settings.validate_every else None
    forward = score.forward(model)
    last: dict[int, Any] = {}  # probabilities of the last validation, by the step after which it was

    def validate(epoch: int) -> dict[str, Any] | None:
        if val is None or (epoch + 1) % settings.validate_every:
            return None
        last.clear()
        last[state.step] = found = score.probabilities(forward, val, settings.batch, workers)
        scored = score.scores(val.labels, found, score.HALF, val.classes)
        if workers.rank == 0:
            log.info("epoch %d, val: %s", epoch, record.scores_line(scored))
        return scored

    start = time.perf_counter()
    fit.fit(course, state, workers, validate, save)
    seconds = time.perf_counter() - start
    checksums, scores = workers.gather(fit.checksum(model)), {}
    if val is not None:  # of the network that trainer.evaluate will use, and so the thresholds
        step = workers.agree("reading the best network", lambda: _restore_best(settings, state, model.variables))
        found = last[step] if step in last else score.probabilities(forward, val, settings.batch, workers)
        scores["val"] = score.both(val, found, score.tuned_thresholds(val.labels, found))
    return _write(settings, record.Outcome(course.deal, state, seconds, checksums, scores, described), workers)


def _write(settings: RunSettings, outcome: Any, workers: Workers) -> int:
    """Collective: the record, the logs, the closing lines."""
    from trainer.report import record

    found = record.record(settings, outcome)

    def write() -> Any:
        if workers.rank:
            return None
        record.log_epochs(settings.out, outcome.state)
        return record.write(settings.out / "run.json", found)

    path = workers.agree("writing the record", write)
    if path is not None:
        print(record.closing_lines(found, path), flush=True)
    return DONE if outcome.weights_equal else FAILED


def _course(settings: RunSettings, rows: SelectedRows, dealt: tuple[Any, Deal, int], who: tuple[Any, Workers]) -> Any:
    """Everything that decides the run's steps."""
    import keras

    from trainer.data import stream
    from trainer.fit import loop as fit

    (sample, deal, steps), (model, workers) = dealt, who
    optimiser = keras.optimizers.SGD(settings.rate, momentum=settings.momentum, nesterov=settings.momentum > 0)
    optimiser.build(model.trainable_variables)

    def share(step: int) -> Share:
        taken = deal.share(step, workers.rank)
        return Share(sample[taken.rows], taken.weights)

    length = steps / deal.epoch_steps if settings.steps else settings.epochs
    schedule = Schedule(settings.rate, deal.batch, deal.size, settings.warmup, settings.decay, length)
    return fit.Course(
        model, optimiser, schedule, deal, steps,
        batches=stream.Stream(rows, settings.batch, share),
        rows=rows.numbers,
        positive=imbalance.positive_weights(rows.labels, settings.rare_weight),
        seed=settings.seed, turn=settings.turn, mixup=settings.mixup, lars=settings.lars,
        compress=settings.compress, checkpoint_steps=settings.checkpoint_steps, patience=settings.patience,
    )  # fmt: skip


def _begin(settings: RunSettings, begun_with: dict[str, Any], variables: list[Any]) -> State:
    """How far an interrupted run was, its variables restored; a new state where there is none.

    Raises:
        ValueError: it was begun otherwise.
    """
    path = settings.out / LAST
    if not path.exists():
        return State()
    found = checkpoint.load(path)
    differing = checkpoint.differences(found.begun_with, begun_with)
    if differing:
        raise ValueError(f"{path} can only be resumed with what it was begun with: {'; '.join(differing)}")
    checkpoint.restore(path, found.arrays, variables)
    return found.state


def _restore_best(settings: RunSettings, state: State, variables: list[Any]) -> int:
    """Give the model the weights of the best validation, where there was one; returns the step that they are of."""
    path = settings.out / BEST
    if not path.exists():
        return state.step
    found = checkpoint.load(path)
    checkpoint.restore(path, found.arrays[: len(variables)], variables)
    return found.state.step


def _make_out(settings: RunSettings) -> None:
    """Make the run's folder.

    Raises:
        ValueError: it holds a run that is not to be resumed.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    there = [name for name in (LAST, "run.json") if (settings.out / name).exists()]
    if there and not settings.resume:
        raise ValueError(f"{settings.out} holds a run, {there[0]}: name another --out, or go on with --resume")


def _validation(settings: RunSettings, workers: Workers) -> SelectedRows | None:
    """Collective: the rows of split val; None where there are none."""
    wanted = RowSelection(pixel_sets(settings.bands), "val", settings.classes)

    def rows() -> SelectedRows | None:
        try:
            return select_rows(settings.store, wanted)
        except ValueError as error:
            if workers.rank == 0:
                log.warning("no validation: %s", error)
            return None

    found = rows()
    return found if all(workers.gather(found is not None)) else None


if __name__ == "__main__":
    sys.exit(main())
