"""`python -m trainer.predict`: a run's probabilities for every patch of a store, to Parquet."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import pyarrow as pa
import pyarrow.parquet as pq

from etl.quiet import quiet_stderr
from trainer.config import PredictSettings
from trainer.rows import Rows
from trainer.workers.command import claim, run_command
from trainer.workers.horovod import DONE, Workers

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(PredictSettings, "trainer.predict", argv, predict)


def predict(settings: PredictSettings, workers: Workers) -> int:
    """Collective: predict, and write one row a patch.

    Raises:
        WorkerError: the input is bad, on every worker alike.
    """
    claim(settings.threads, workers)
    with quiet_stderr():
        from trainer.fit import predictions as score
    rows, found = score.of_run(settings, workers, labelled=False)

    def write() -> Path | None:
        if workers.rank:
            return None
        part = settings.out.with_name(settings.out.name + ".part")
        pq.write_table(_table(rows, found), part)
        return part.rename(settings.out)

    path = workers.agree("writing the probabilities", write)
    if path is not None:
        print(f"{len(rows)} patches x {len(rows.classes)} classes -> {path}", flush=True)
    return DONE


def _table(rows: Rows, found: Any) -> pa.Table:
    """Name, tile, corner and projection of each patch, and one float32 column a class."""
    with h5py.File(rows.path, "r", locking="best-effort") as file:
        columns = {name: file[name][...][rows.numbers] for name in ("patch", "tile", "epsg", "ulx", "uly")}
    columns = {name: [v.decode() for v in c] if c.dtype.kind in "SO" else c for name, c in columns.items()}
    return pa.table({**columns, **{name: found[:, k] for k, name in enumerate(rows.classes)}})


if __name__ == "__main__":
    sys.exit(main())
