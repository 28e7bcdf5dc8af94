"""`python -m trainer.predict`: a run's probabilities for every patch of a store, to Parquet."""

import sys
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from etl.exit_status import ExitStatus
from etl.files import replace_atomically
from etl.stderr import suppress_stderr
from etl.store.reader import StoreReader
from trainer.config import PredictRunSettings
from trainer.data.selection import SelectedRows
from trainer.workers.command import run_command
from trainer.workers.devices import configure_worker_devices
from trainer.workers.horovod import Workers

__all__ = ["main"]

_IDENTITY = ("patch", "tile", "epsg", "ulx", "uly")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(PredictRunSettings, "trainer.predict", argv, predict)


def predict(settings: PredictRunSettings, workers: Workers) -> int:
    """Collective: predict, and write a table of one row a patch, with a column of dtype float32 a class.

    Raises:
        JobError: the input is bad, on every worker alike.
    """
    configure_worker_devices(settings.threads, workers)
    with suppress_stderr():
        from trainer.fit.predictions import predict_with_run
    rows, probabilities = predict_with_run(settings, workers, labelled=False)

    def write() -> None:
        with replace_atomically(settings.out) as part:
            pq.write_table(_table(rows, probabilities), part)

    workers.on_first("writing the probabilities", write)
    if workers.rank == 0:
        print(f"{len(rows)} patches x {len(rows.classes)} classes -> {settings.out}", flush=True)
    return ExitStatus.DONE


def _table(rows: SelectedRows, probabilities: npt.NDArray[np.float32]) -> pa.Table:
    """Name, tile, corner and projection of each patch as far as the store has them, and one float32 column a class.

    Without names there is a column `row`, the row in the store.
    """
    with StoreReader(rows.location) as store:
        missing = [name for name in _IDENTITY if name not in store]
        columns = {name: store.column(name)[rows.numbers] for name in _IDENTITY if name in store}
    if missing:
        print(f"left out, because {rows.location} has no such arrays: {', '.join(missing)}", flush=True)
    if "patch" in missing:
        columns = {"row": rows.numbers, **columns}
    columns = {name: np.strings.decode(c, "utf-8") if c.dtype.kind == "S" else c for name, c in columns.items()}
    return pa.table({**columns, **{name: probabilities[:, k] for k, name in enumerate(rows.classes)}})


if __name__ == "__main__":
    sys.exit(main())
