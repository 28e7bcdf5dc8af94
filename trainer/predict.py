"""`python -m trainer.predict`: write a run's probabilities for each patch of a store as a table or a map."""

from trainer.workers.interruption import end_on_signals
from trainer.workers.supervisor import RERUN_ADVICE

if __name__ == "__main__":
    end_on_signals(RERUN_ADVICE)  # during the imports below, which take seconds

import sys
from collections.abc import Sequence

from etl.exit_status import ExitStatus
from etl.stderr import suppress_stderr
from trainer.config import PredictRunSettings
from trainer.maps.output import prepare_output, require_output
from trainer.workers.command import run_command
from trainer.workers.horovod import Workers

__all__ = ["main", "predict"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(PredictRunSettings, "trainer.predict", argv, predict)


def predict(settings: PredictRunSettings, workers: Workers) -> int:
    """Collective: predict, and write a table or a map of the patches; returns the exit status.

    Raises:
        JobError: the input is bad, or the output cannot be written, on every worker alike.
    """
    with suppress_stderr():
        from trainer.fit.predictions import compile_predictor, load_network, predict_rows
        from trainer.fit.thresholds import read_thresholds
    model, rows = load_network(settings, workers, labelled_only=False, check=lambda: require_output(settings.out))
    with rows.reader:
        output = workers.on_every_worker(
            "preparing the output", lambda: prepare_output(rows, settings.out, settings.stride)
        )
        thresholds = read_thresholds(settings.run, len(rows.classes))
        probabilities = predict_rows(compile_predictor(model, rows.single_label), output.rows, settings.batch, workers)
        workers.on_worker_0(
            "writing the predictions", lambda: print(output.write(probabilities, thresholds), flush=True)
        )
    return ExitStatus.DONE


if __name__ == "__main__":
    sys.exit(main())
