"""`python -m trainer.predict`: write a run's probabilities for each patch of a store to a Parquet table."""

from trainer.workers.interruption import end_on_signals
from trainer.workers.supervisor import RERUN_ADVICE

if __name__ == "__main__":
    end_on_signals(RERUN_ADVICE)  # during the imports below, which take seconds

import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from etl.exit_status import ExitStatus
from etl.files import replace_atomically, require_writable
from etl.stderr import suppress_stderr
from trainer.config import PredictRunSettings
from trainer.data.selection import SelectedRows
from trainer.workers.command import run_command
from trainer.workers.horovod import Workers

__all__ = ["main"]

_IDENTITY = ("patch", "tile", "epsg", "ulx", "uly")
"""Arrays of the store that are copied to the table."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(PredictRunSettings, "trainer.predict", argv, predict)


def predict(settings: PredictRunSettings, workers: Workers) -> int:
    """Collective: predict, and write a table with one row per patch and a column of dtype float32 per class.

    Raises:
        JobError: the input is bad, on every worker alike.
    """
    with suppress_stderr():
        from trainer.fit.predictions import load_and_predict
    rows, probabilities = load_and_predict(
        settings, workers, labelled_only=False, check=lambda: require_writable(settings.out)
    )

    def write() -> None:
        with replace_atomically(settings.out) as part:
            pq.write_table(_table(rows, probabilities), part)
        print(f"{len(rows)} patches x {len(rows.classes)} classes -> {settings.out}", flush=True)

    workers.on_worker_0("writing the probabilities", write)
    return ExitStatus.DONE


def _table(rows: SelectedRows, probabilities: npt.NDArray[np.float32]) -> pa.Table:
    """Table of name, tile, corner and projection of each patch, if the store has them, and a float32 column per class.

    If the store has no names, the column `row` gives the row number in the store.
    """
    store = rows.reader
    missing = [name for name in _IDENTITY if name not in store]
    columns = {name: store.column(name)[rows.store_rows] for name in _IDENTITY if name in store}
    if missing:
        print(f"left out, because {store.location} has no such arrays: {', '.join(missing)}", flush=True)
    if "patch" in missing:
        columns = {"row": rows.store_rows, **columns}
    columns = {name: np.strings.decode(c, "utf-8") if c.dtype.kind == "S" else c for name, c in columns.items()}
    return pa.table({**columns, **{name: probabilities[:, k] for k, name in enumerate(rows.classes)}})


if __name__ == "__main__":
    sys.exit(main())
