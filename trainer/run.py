"""`python -m trainer.run`: train on a store, alone or as one worker a rank under mpirun."""

import contextlib
import io
import logging
import os
import sys
import time
from collections.abc import Sequence

from etl.settings import load
from trainer.config import BANDS, RunSettings
from trainer.deal import Deal
from trainer.parallel import DONE, FAILED, WorkerError, Workers, abandon, connect, launched
from trainer.quiet import quiet_stderr
from trainer.rows import TrainingRows, open_rows

__all__ = ["main"]

log = logging.getLogger("trainer.run")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    rank, size = launched()
    speaker = rank == 0
    with contextlib.nullcontext() if speaker else contextlib.redirect_stderr(io.StringIO()):
        settings = load(RunSettings, "trainer.run", argv)
    logging.basicConfig(
        level=logging.INFO if speaker else logging.WARNING,
        format="%(message)s" if speaker else f"r{rank:03d}/{size} %(message)s",
        stream=sys.stderr,
    )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        with quiet_stderr():
            workers = connect()
        return train(settings, workers)
    except WorkerError as error:
        if speaker:
            log.error("error: %s", error)
        return error.status


def train(settings: RunSettings, workers: Workers) -> int:
    """Collective: train as the settings say; returns the exit status.

    Raises:
        WorkerError: the input is bad, on every worker alike.
    """
    if workers.size > 1:  # what workers tell each other starts TensorFlow, which then takes no more settings
        _claim(settings, workers)
    rows = workers.agree("opening the store", lambda: open_rows(settings.store, *BANDS[settings.bands]))
    deal = Deal(len(rows), settings.batch, workers.size, settings.seed)
    steps = settings.steps or settings.epochs * deal.epoch_steps
    if workers.rank == 0:
        log.info("%s", plan(settings, rows, deal, steps))
    if settings.dry_run:
        return DONE
    workers.agree("making --out", lambda: settings.out.mkdir(parents=True, exist_ok=True))
    try:
        return _train(settings, rows, deal, steps, workers)
    except WorkerError:
        raise
    except BaseException:
        abandon(workers)


def plan(settings: RunSettings, rows: TrainingRows, deal: Deal, steps: int) -> str:
    """What is going to be done, in words."""
    return (
        f"{len(rows)} training rows of {settings.store}, {len(rows.pixels.channels)} bands of {rows.pixels.name}; "
        f"{deal.size} x {deal.batch} patches a step, {deal.epoch_steps} steps an epoch, {steps} steps; "
        f"{deal.batch * rows.pixels.row_bytes / 2**20:.1f} MiB a batch"
    )


def _claim(settings: RunSettings, workers: Workers) -> None:
    with quiet_stderr():
        from trainer import devices
    devices.claim(settings.threads, workers.local_rank, workers.local_size)


def _train(settings: RunSettings, rows: TrainingRows, deal: Deal, steps: int, workers: Workers) -> int:
    with quiet_stderr():  # TensorFlow takes seconds: not for --help, a bad store or a dry run
        from trainer import fit, model, optimise, report, stream
    if workers.size == 1:
        _claim(settings, workers)
    network = model.build(rows.pixels, rows.labels.shape[1], settings.seed)
    optimiser = optimise.sgd(optimise.initial_rate(settings.rate, deal.batch * deal.size), settings.momentum)
    batches = stream.batches(rows, deal, workers.rank, 0, steps)

    start = time.perf_counter()
    history = fit.fit(network, optimiser, batches, workers)
    seconds = time.perf_counter() - start

    outcome = report.Outcome(deal, history, seconds, workers.gather(fit.checksum(network)))
    found = report.record(settings, outcome)
    path = workers.agree("writing the record", lambda: report.write(settings.out, found) if workers.rank == 0 else None)
    if path is not None:
        print(report.closing_lines(found, path), flush=True)
    return DONE if outcome.weights_equal else FAILED


if __name__ == "__main__":
    sys.exit(main())
