"""`python -m trainer.run`: train on a store, as a single worker or under mpirun with one worker per rank."""

from trainer.workers.supervisor import supervise

if __name__ == "__main__":
    supervise()  # returns only in the worker; must precede the imports below, because h5py starts MPI

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from etl.exit_status import ExitStatus
from etl.files import require_writable
from etl.stderr import suppress_stderr
from trainer.config import RunSettings, band_selections
from trainer.data.imbalance import oversampled_rows
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.fit.checkpoint import LAST
from trainer.fit.observer import Observers, observer_class
from trainer.workers.command import run_command
from trainer.workers.devices import configure_worker_devices
from trainer.workers.horovod import Workers
from trainer.workers.watchdog import start_watchdog

__all__ = ["main"]

log = logging.getLogger("trainer.run")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(RunSettings, "trainer.run", argv, train)


def train(settings: RunSettings, workers: Workers) -> int:
    """Collective: train as the settings say, and write the results to `settings.out`; returns the exit status.

    Raises:
        JobError: the input is bad or the training diverges, on every worker alike.
    """
    start_watchdog(workers, settings.stall)
    if workers.size > 1:  # the first exchange between workers starts TensorFlow, which then refuses these settings
        configure_worker_devices(settings.threads, workers)

    # ---- which rows, in which order, on which worker
    selection = RowSelection(band_selections(settings.bands), "train", settings.classes)
    rows = workers.on_every_worker("opening the store", lambda: _training_rows(settings, selection))
    repeated = oversampled_rows(rows.labels, settings.oversample, settings.seed)
    epoch_rows = replace(rows, store_rows=rows.store_rows[repeated], labels=rows.labels[repeated])
    sampler = DistributedSampler(len(epoch_rows), settings.batch, workers.size, settings.seed, settings.shuffle_block)
    log.info("%s", _plan_line(settings, rows, sampler))
    if sampler.steps_per_epoch == 1 and len(epoch_rows) < sampler.batch * sampler.size:
        text = "a step of %d patches, --batch on each worker, is more than the %d training rows: each epoch is one step"
        log.warning(text, sampler.batch * sampler.size, len(epoch_rows))
    for item in rows.pixels:
        if item.missing_share:
            text = "%.1f %% of the training pixels of %s have no value; the mean stands for them"
            log.warning(text, 100 * item.missing_share, item.name)
    if settings.dry_run:
        return ExitStatus.DONE
    own = workers.on_every_worker("loading --callback", lambda: observer_class(settings)) if settings.callback else None
    workers.on_every_worker("making --out", lambda: _make_out(settings))

    # ---- train
    with suppress_stderr():  # TensorFlow takes seconds to import; --help, a bad store and a dry run do not need it
        from trainer.fit.training import train_network
        from trainer.report.progress_line import ProgressLine, StepProfiler
        from trainer.report.record import closing_lines, finished_record, write_record
        from trainer.report.recorder import RunRecorder
    if workers.size == 1:
        configure_worker_devices(settings.threads, workers)
    observers = [RunRecorder(settings, sampler, rows), ProgressLine(settings, sampler)]
    observers += [StepProfiler(settings)] if settings.profile else []
    if own is not None:
        made = workers.on_worker_0("making the observer of --callback", lambda: own(settings))
        observers += [made] if made is not None else []
    observer = Observers(settings, observers)
    outcome = train_network(settings, rows, epoch_rows, sampler, workers, observer)
    if outcome is None:
        return ExitStatus.RESUMABLE

    # ---- record
    def write() -> None:
        record, path = finished_record(settings, sampler, outcome, rows.archive), settings.out / "run.json"
        write_record(path, record)
        print(closing_lines(record, path), flush=True)

    workers.on_worker_0("writing the record", write)
    return ExitStatus.DONE if outcome.weights_equal else ExitStatus.FAILED


def _training_rows(settings: RunSettings, selection: RowSelection) -> SelectedRows:
    """The rows to train on.

    Raises:
        ValueError: the store cannot be used, or not with this loss, or its patches cannot be turned.
    """
    rows = select_rows(settings.store, selection)
    if rows.single_label and settings.loss != "cross-entropy":
        raise ValueError(
            f"--loss must be cross-entropy for {settings.store}, of one label a patch, got {settings.loss}"
        )
    for item in rows.pixels:
        height, width, _ = item.row_shape
        if settings.turn and height != width:
            raise ValueError(
                f"patches of {settings.store} must be square to be turned, got {height} x {width}: add --no-turn"
            )
    return rows


def _plan_line(settings: RunSettings, rows: SelectedRows, sampler: DistributedSampler) -> str:
    """One line for the log: training rows, bands, steps, and MiB per batch."""
    bands = ", ".join(f"{len(item.channels)} bands of {item.name}" for item in rows.pixels)
    left_out = f" ({rows.unlabelled} without label left out)" if rows.unlabelled else ""
    return (
        f"{len(rows)} training rows of {settings.store}{left_out}, {bands}; "
        f"{sampler.size} worker{'s' * (sampler.size > 1)} x {sampler.batch} patches per step, "
        f"{sampler.steps_per_epoch} steps per epoch, {settings.total_steps(sampler.steps_per_epoch)} steps in all; "
        f"{sampler.batch * rows.row_bytes / 2**20:.1f} MiB per batch"
    )


def _make_out(settings: RunSettings) -> None:
    """Make the run's folder.

    Raises:
        ValueError: it holds a run already, and --resume is not given.
    """
    out = settings.out
    require_writable(out / "run.json")
    present = LAST if (out / LAST).exists() else "run.json" if _has_steps(out / "run.json") else None
    if present and not settings.resume:
        raise ValueError(f"{out} already contains a run ({present}); choose another --out, or continue with --resume")


def _has_steps(path: Path) -> bool:
    """Whether there is the record of a run, except of one that was lost before its first checkpoint."""
    try:
        return bool(json.loads(path.read_bytes())["steps"])
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        return True


if __name__ == "__main__":
    sys.exit(main())
