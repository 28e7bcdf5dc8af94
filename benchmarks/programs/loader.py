"""`python -m benchmarks.programs.loader JOB.json RESULT.json`: batches of random rows of a Zarr store, by many readers.

Every reader gives the same rows in the same order, two batches ahead, and whoever takes a batch reads it to its last
byte. Ours is the trainer's stream; the peers are given two threads of their own.
"""

import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts
import zarr

from benchmarks.machine import Moment, others_share
from etl.mpi import alone
from etl.store.backend import backend_of
from etl.store.layout import Layout
from etl.store.schema import SCHEMA_VERSION, SPLITS, WRITTEN, Schema
from trainer.deal import Deal
from trainer.rows import Wanted, open_rows
from trainer.stream import Stream

__all__ = ["main"]

_NAME = "data_super"
_ZARRS = "zarrs.ZarrsCodecPipeline"


def _make(path: Path, job: dict[str, Any], compress: str) -> None:
    """A complete store of `rows` rows, smooth fields with noise."""
    schema, numbers = Schema(job["rows"]), np.random.default_rng(0)
    identity = {item.name: np.zeros(item.shape, item.dtype) for item in schema.identity}
    identity["split"][...] = SPLITS.index("train")
    identity["classes"][...] = 1
    identity["state"] = np.full(job["rows"], WRITTEN, np.uint8)
    store = backend_of(path, Layout(shard_rows=job["shard_rows"], chunk_rows=job["chunk_rows"], compress=compress))
    store.create(schema, identity, {"schema_version": SCHEMA_VERSION})
    with store.writer(alone(), None) as writer:
        for first in range(0, job["rows"], job["shard_rows"]):
            for item in schema.pixels:
                fields = numbers.integers(200, 4000, (job["shard_rows"], 1, 1, item.shape[-1]))
                rows = fields + numbers.integers(0, 256, (job["shard_rows"], *item.row_shape))
                writer.write(item.name, first, rows.astype(np.uint16))
            writer.drain()
        writer.sync()
    store.overwrite({"complete": np.ones((), np.uint8)})


def _ours(path: Path, deal: Deal, steps: int) -> Iterator[npt.NDArray[np.uint16]]:
    rows = open_rows(path, Wanted(((_NAME, ()),), "train"))
    for pixels, *_ in Stream(rows, deal.batch, lambda step: deal.share(step, 0))(range(steps)):
        yield pixels[0].numpy()


def _ahead(read: Callable[[npt.NDArray[np.int64]], Any], deal: Deal, steps: int) -> Iterator[npt.NDArray[np.uint16]]:
    """Batches by a peer, two ahead on threads."""
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(read, deal.share(step, 0).rows) for step in range(min(2, steps))]
        for step in range(steps):
            if step + 2 < steps:
                waiting.append(pool.submit(read, deal.share(step + 2, 0).rows))
            yield waiting.pop(0).result()


def _tensorstore(path: Path, deal: Deal, steps: int) -> Iterator[npt.NDArray[np.uint16]]:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path / _NAME}/"}}
    array = ts.open(spec, context=ts.Context({"cache_pool": {"total_bytes_limit": 64 << 20}})).result()
    return _ahead(lambda rows: array[rows].read().result(), deal, steps)


def _zarr_python(path: Path, deal: Deal, steps: int) -> Iterator[npt.NDArray[np.uint16]]:
    array: Any = zarr.open_array(path / _NAME, mode="r")
    return _ahead(lambda rows: array.oindex[rows], deal, steps)


def _zarrs(path: Path, deal: Deal, steps: int) -> Iterator[npt.NDArray[np.uint16]]:
    with zarr.config.set({"codec_pipeline.path": _ZARRS}):
        array: Any = zarr.open_array(path / _NAME, mode="r")
    return _ahead(lambda rows: array.oindex[rows], deal, steps)


READERS: dict[str, Callable[[Path, Deal, int], Iterator[npt.NDArray[np.uint16]]]] = {
    "ours": _ours,
    "tensorstore": _tensorstore,
    "zarr_python": _zarr_python,
    "zarr_python_zarrs": _zarrs,
}


def _read(path: Path, deal: Deal, steps: int, reader: str) -> tuple[float, int]:
    """Seconds of all steps from opening the store, and a sum over every value read."""
    start, seen = time.perf_counter(), 0
    batches = READERS[reader](path, deal, steps)
    for batch in batches:
        seen += int(batch.sum(dtype=np.uint64))
    return time.perf_counter() - start, seen


def _repeat(stores: dict[str, Path], deal: Deal, steps: int, reverse: bool) -> dict[str, Any]:
    before, cpu_s = Moment.now(), time.process_time()
    found: dict[str, Any] = {"seconds": {}}
    ways = [(kind, reader) for kind in stores for reader in READERS]
    sums: dict[str, set[int]] = {kind: set() for kind in stores}
    for kind, reader in ways[::-1] if reverse else ways:
        found["seconds"][f"{reader}_{kind}"], seen = _read(stores[kind], deal, steps, reader)
        sums[kind].add(seen)
    if any(len(each) != 1 for each in sums.values()):
        raise RuntimeError(f"all readers must give the same pixels, their sums are {sums}")
    found["others_share"] = others_share(before, Moment.now(), time.process_time() - cpu_s)
    return found


def main() -> None:
    """Read as the job says."""
    warnings.simplefilter("ignore")
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    stores = {kind: Path(job["folder"]) / f"{kind}.zarr" for kind in ("none", "zstd")}
    for kind, path in stores.items():
        _make(path, job, kind)
    deal = Deal(job["rows"], job["batch"], 1, seed=0)
    _repeat(stores, deal, 1, reverse=False)  # nothing is loaded or traced for the first time in what counts
    found = [_repeat(stores, deal, job["steps"], reverse=number % 2 == 1) for number in range(job["repeats"])]
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
