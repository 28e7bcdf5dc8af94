"""`python -m trainer.predict`: a run's probabilities for every patch of a store, to Parquet."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from etl.stderr import suppress_stderr
from etl.store.reader import StoreReader
from trainer.config import PredictSettings
from trainer.data.selection import SelectedRows
from trainer.workers.command import claim, run_command
from trainer.workers.horovod import DONE, Workers

__all__ = ["main"]

_IDENTITY = ("patch", "tile", "epsg", "ulx", "uly")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command on this worker; returns the exit status."""
    return run_command(PredictSettings, "trainer.predict", argv, predict)


def predict(settings: PredictSettings, workers: Workers) -> int:
    """Collective: predict, and write one row a patch.

    Raises:
        WorkerError: the input is bad, on every worker alike.
    """
    claim(settings.threads, workers)
    with suppress_stderr():
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


def _table(rows: SelectedRows, found: Any) -> pa.Table:
    """Name, tile, corner and projection of each patch as far as the store has them, and one float32 column a class.

    Without names there is a column `row`, the row in the store.
    """
    with StoreReader(rows.path) as store:
        missing = [name for name in _IDENTITY if name not in store]
        columns = {name: store.column(name)[rows.numbers] for name in _IDENTITY if name in store}
    if missing:
        print(f"left out, because {rows.path} has no such arrays: {', '.join(missing)}", flush=True)
    if "patch" in missing:
        columns = {"row": rows.numbers, **columns}
    columns = {name: np.strings.decode(c, "utf-8") if c.dtype.kind == "S" else c for name, c in columns.items()}
    return pa.table({**columns, **{name: found[:, k] for k, name in enumerate(rows.classes)}})


if __name__ == "__main__":
    sys.exit(main())
