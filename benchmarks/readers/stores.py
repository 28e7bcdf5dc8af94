"""Make complete stores of given rows, for the readers of this project's formats."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from etl.mpi import comm_self, file_hints
from etl.schema import SCHEMA_VERSION, SPLITS, WRITTEN, Schema
from etl.store.backend import backend_of
from etl.store.layout import Layout
from etl.store.statistics import Sums, row_sums, statistics_arrays

__all__ = ["NAME", "make_store"]

NAME = "data_super"
_SHARD_ROWS = 128


def make_store(path: Path, rows: npt.NDArray[np.uint16], compress: str = "none") -> None:
    """Create a store at `path`, in the format of its suffix, with `rows` as `data_super` and zeros in native bands."""
    schema = Schema(len(rows))
    identity = {item.name: np.zeros(item.shape, item.dtype) for item in schema.identity}
    identity["split"][...] = SPLITS.index("train")
    identity["classes"][...] = 1
    identity["state"] = np.full(len(rows), WRITTEN, np.uint8)
    shard_rows = min(_SHARD_ROWS, len(rows))
    store = backend_of(path, Layout(1 << 20, collective=False, shard_rows=shard_rows, compress=compress))
    store.create(schema, identity, {"schema_version": SCHEMA_VERSION})
    with store.writer(comm_self(), file_hints()) as writer:
        for first in range(0, len(rows), shard_rows):
            writer.write(NAME, first, np.ascontiguousarray(rows[first : first + shard_rows]))
            writer.wait()
        writer.sync()
    sums, train = Sums(schema.pixels), SPLITS.index("train")
    for item in schema.pixels:
        pixels = rows if item.name == NAME else np.zeros(item.shape, item.dtype)
        sums.add(train, item.name, row_sums(pixels.reshape(-1, *item.shape[2:])))
    store.overwrite({**statistics_arrays(sums.totals), "complete": np.ones((), np.uint8)})
