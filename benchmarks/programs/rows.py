"""`python -m benchmarks.programs.rows JOB.json RESULT.json`: write the rows of a store by several methods alternately.

Methods: HDF5 as in an extraction, plain MPI-IO, `pwrite`, and Zarr shards. Each writes the same bytes to the same
places of a new, fully allocated store, in the same rounds, with one call per array. All that write to one file drop
written pages from the page cache alike. Times run from opening to closing.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmarks.findings import QUIET, least_disturbed
from benchmarks.machine import Moment, others_share
from benchmarks.programs.world import SharedFile, time_slowest, total, world, write_result
from etl.extract.batch import Batch
from etl.mpi import Comm, file_hints
from etl.schema import Schema
from etl.store.backend import backend_of
from etl.store.hdf5.create import create_hdf5
from etl.store.hdf5.writer import Hdf5Writer
from etl.store.layout import Layout
from etl.store.sync import WriteBehind

__all__ = ["main"]


@dataclass(slots=True)
class Rows:
    """Rows that one rank writes, and their places in the file."""

    comm: Comm
    path: Path
    rounds: int
    batch: Batch
    offsets: dict[str, int]
    """Offset of each array in the file, in bytes."""
    unsynced_s: float = field(default=0.0)
    """Seconds until the last write call returned."""

    def each(self, write: Callable[[str, int, Any], None], after_round: Callable[[], None] | None = None) -> None:
        """Call `write(name of the array, first row, rows)` round by round."""
        start = time.perf_counter()
        for number in range(self.rounds):
            first = (self.comm.rank * self.rounds + number) * self.batch.rows
            for name, rows in self.batch.arrays():
                write(name, first, rows)
            if after_round is not None:
                after_round()
        self.unsynced_s = time.perf_counter() - start

    def offset_of(self, name: str, first: int, rows: Any) -> int:
        """Offset of a row in the file, in bytes."""
        return int(self.offsets[name] + first * rows[0].nbytes)


def _hdf5(work: Rows, collective: bool) -> None:
    with Hdf5Writer(work.path, work.comm, file_hints(), collective) as writer:
        work.each(writer.write)
        writer.sync()


def _mpi(work: Rows, collective: bool) -> None:
    file = SharedFile(work.comm, work.path)
    put = file.write_all if collective else file.write
    work.each(lambda name, first, rows: put(work.offset_of(name, first, rows), rows))
    file.sync()
    file.close()


def _pwrite(work: Rows) -> None:
    handle = os.open(work.path, os.O_RDWR)
    behind = WriteBehind(handle)

    def write(name: str, first: int, rows: Any) -> None:
        remaining, offset = memoryview(rows).cast("B"), work.offset_of(name, first, rows)
        while remaining:
            written = os.pwrite(handle, remaining, offset)
            remaining, offset = remaining[written:], offset + written
        behind.add(offset - rows.nbytes, rows.nbytes)

    work.each(write)
    behind.sync()
    os.close(handle)


def _zarr(work: Rows) -> None:
    with backend_of(work.path).writer(work.comm, None) as writer:
        work.each(writer.write, writer.wait)
        writer.sync()


_METHODS: dict[str, Callable[[Rows], None]] = {
    "hdf5_collective": lambda work: _hdf5(work, True),
    "mpi_collective": lambda work: _mpi(work, True),
    "hdf5_independent": lambda work: _hdf5(work, False),
    "mpi_independent": lambda work: _mpi(work, False),
    "pwrite": _pwrite,
    "zarr_none": _zarr,
    "zarr_zstd": _zarr,
}

_DEFAULT_METHODS = ("hdf5_collective", "mpi_collective", "hdf5_independent", "mpi_independent", "pwrite")
"""Methods of a job that names none."""


def _filled(schema: Schema, rows: int) -> Batch:
    batch = Batch(schema, rows)
    batch.rows = rows
    numbers = np.random.default_rng(0)
    for array in batch.pixels.values():
        array[...] = numbers.integers(1, 10_000, array.shape[1:], np.uint16)
    for array in batch.results.values():
        array[...] = 1
    return batch


def _fresh(comm: Comm, path: Path, schema: Schema, align_bytes: int) -> dict[str, int]:
    """Collective: create a store; returns the offset of each array in bytes."""
    offsets: dict[str, int] = {}
    if comm.rank == 0:
        path.unlink(missing_ok=True)
        create_hdf5(path, schema, {}, {}, Layout(align_bytes))
        with h5py.File(path, "r") as file:
            offsets = {item.name: file[item.name].id.get_offset() for item in (*schema.pixels, *schema.results)}
    return dict(comm.bcast(offsets))


def _fresh_zarr(comm: Comm, path: Path, schema: Schema, job: dict[str, Any], compress: str) -> None:
    """Collective: create a Zarr store whose shards have the rows of one round."""
    if comm.rank == 0:
        shutil.rmtree(path, ignore_errors=True)
        layout = Layout(shard_rows=job["rows"], chunk_rows=job.get("chunk_rows", 1), compress=compress)
        backend_of(path, layout).create(schema, {}, {})
    comm.Barrier()


def _prepare(comm: Comm, job: dict[str, Any], schema: Schema, batch: Batch, method: str) -> Rows:
    """Collective: create a store for one method; returns the rows to write into it."""
    path = Path(job["path"])
    if method.startswith("zarr"):
        path = path.with_suffix(".zarr")
        _fresh_zarr(comm, path, schema, job, method.removeprefix("zarr_"))
        return Rows(comm, path, job["rounds"], batch, {})
    return Rows(comm, path, job["rounds"], batch, _fresh(comm, path, schema, job["align_bytes"]))


def _repeat(comm: Comm, job: dict[str, Any], schema: Schema, batch: Batch, reverse: bool) -> dict[str, Any]:
    """Collective: run each method once; seconds with and without sync, and the CPU share of other programs."""
    result: dict[str, Any] = {"seconds": {}, "unsynced_s": {}}
    before, cpu_s, methods = Moment.now(), time.process_time(), list(job.get("methods", _DEFAULT_METHODS))
    for method in methods[::-1] if reverse else methods:
        work = _prepare(comm, job, schema, batch, method)
        result["seconds"][method] = time_slowest(comm, lambda method=method, work=work: _METHODS[method](work))  # type: ignore[misc]
        result["unsynced_s"][method] = work.unsynced_s
        if method.startswith("zarr"):
            result.setdefault("mib", {})[method] = sum(f.stat().st_size for f in work.path.glob("data_*/c.*")) / 2**20
    own_s = total(comm, time.process_time() - cpu_s)
    result["others_share"] = comm.bcast(others_share(before, Moment.now(), own_s))
    return result


def main() -> None:
    """Collective: write the rows as the job says."""
    comm, job = world(), json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    schema = Schema(comm.size * job["rounds"] * job["rows"])
    batch, results = _filled(schema, job["rows"]), list[dict[str, Any]]()
    while len(results) < job["repeats"] + job["spare"]:
        results.append(_repeat(comm, job, schema, batch, reverse=len(results) % 2 == 1))
        if sum(repeat["others_share"] <= QUIET for repeat in results) >= job["repeats"]:
            break
    for number in least_disturbed([repeat["others_share"] for repeat in results], job["repeats"]):
        results[number]["counted"] = True
    comm.Barrier()
    if comm.rank == 0:
        Path(job["path"]).unlink(missing_ok=True)
        shutil.rmtree(Path(job["path"]).with_suffix(".zarr"), ignore_errors=True)
    write_result(comm, Path(sys.argv[2]), results)


if __name__ == "__main__":
    main()
