"""`python -m trainer.run`: train on a store, alone or as one worker a rank under mpirun."""

from trainer.workers.supervisor import supervise

if __name__ == "__main__":
    supervise()  # returns in the worker alone; the imports below start MPI, by way of h5py

import logging
import sys
from collections.abc import Sequence

from etl.exit_status import ExitStatus
from etl.stderr import suppress_stderr
from trainer.config import RunSettings, pixel_sets
from trainer.data.imbalance import oversampled_rows
from trainer.data.sampler import DistributedSampler
from trainer.data.selection import RowSelection, SelectedRows, select_rows
from trainer.fit.checkpoint import LAST
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
    """Collective: train as the settings say, and write the run's folder; returns the exit status.

    Raises:
        JobError: the input is bad or the training diverges, on every worker alike.
    """
    start_watchdog(workers, settings.stall)
    if workers.size > 1:  # the first exchange between workers starts TensorFlow, which then refuses these settings
        configure_worker_devices(settings.threads, workers)

    # ---- which rows, in which order, on which worker
    selection = RowSelection(pixel_sets(settings.bands), "train", settings.classes)
    rows = workers.agree("opening the store", lambda: select_rows(settings.store, selection))
    positions = oversampled_rows(rows.labels, settings.oversample, settings.seed)
    sampler = DistributedSampler(len(positions), settings.batch, workers.size, settings.seed, settings.shuffle_block)
    log.info("%s", _plan_line(settings, rows, sampler))
    if settings.dry_run:
        return ExitStatus.DONE
    workers.agree("making --out", lambda: _make_out(settings))

    # ---- train
    with suppress_stderr():  # importing TensorFlow takes seconds: not for --help, a bad store or a dry run
        from trainer.fit.training import train_network
        from trainer.report.record import closing_lines, log_epochs, training_record, write_record
    if workers.size == 1:
        configure_worker_devices(settings.threads, workers)
    outcome = train_network(settings, rows, positions, sampler, workers)

    # ---- record
    record, path = training_record(settings, outcome), settings.out / "run.json"

    def write() -> None:
        log_epochs(settings.out, outcome.state)
        write_record(path, record)

    workers.on_first("writing the record", write)
    if workers.rank == 0:
        print(closing_lines(record, path), flush=True)
    return ExitStatus.DONE if outcome.weights_equal else ExitStatus.FAILED


def _plan_line(settings: RunSettings, rows: SelectedRows, sampler: DistributedSampler) -> str:
    """One line that says what is going to be trained on: rows, bands, steps, MiB of a batch."""
    bands = ", ".join(f"{len(item.channels)} bands of {item.name}" for item in rows.pixels)
    left_out = f" ({rows.unlabelled} without label left out)" if rows.unlabelled else ""
    return (
        f"{len(rows)} training rows of {settings.store}{left_out}, {bands}; "
        f"{sampler.size} x {sampler.batch} patches a step, {sampler.epoch_steps} steps an epoch, "
        f"{settings.total_steps(sampler.epoch_steps)} steps; {sampler.batch * rows.row_bytes / 2**20:.1f} MiB a batch"
    )


def _make_out(settings: RunSettings) -> None:
    """Make the run's folder.

    Raises:
        ValueError: it holds a run that is not to be resumed.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    present = [name for name in (LAST, "run.json") if (settings.out / name).exists()]
    if present and not settings.resume:
        raise ValueError(f"{settings.out} holds a run, {present[0]}: name another --out, or go on with --resume")


if __name__ == "__main__":
    sys.exit(main())
