"""Rate at which the trainer's stream delivers shuffled patches, compared with other readers of the same pixels."""

import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from benchmarks.findings import Bar, Findings, Repeats, interleave, median_of, put_ratio, ratios
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.peers import PEERS, python_of, run_program_by
from benchmarks.setup import Setup
from etl.bands import SUPER_BANDS

__all__ = ["QUESTION", "measure"]

QUESTION = "How many shuffled patches per second does the trainer's stream deliver, compared with other readers?"

_ROWS = {"tiny": 16, "laptop": 2048, "cluster": 16384}
_BATCH = {"tiny": 4, "laptop": 64, "cluster": 64}
_EPOCHS = {"tiny": 2, "laptop": 32, "cluster": 8}
"""Most passes over the rows."""
_LONGEST_S = {"tiny": 0.5, "laptop": 3.0, "cluster": 20.0}
"""Seconds after which a reader is stopped."""
_SHAPE = (120, 120, len(SUPER_BANDS))

_STORED_BY = {
    "generator": "ours_hdf5",
    "h5py_batches": "ours_hdf5",
    "tensorstore_": "ours_zarr",
    "zarr_python": "ours_zarr",
    "zarrs": "ours_zarr",
}
"""Readers that read the files of another reader."""

_OURS = ("ours_hdf5", "ours_zarr", "ours_zstd")
"""The trainer's stream on three kinds of store; the names are part of the figures' names."""
_SAME_SHARDS = ("tensorstore_", "zarr_python", "zarrs")
_SEQUENTIAL = ("tfrecord", "webdataset_")
"""Readers of files that are written in the order in which they are read."""

_OTHERS = ("generator", "h5py_batches", *_SAME_SHARDS, "tfrecord")
_SUFFIX = {"ours_hdf5": ".h5", "ours_zarr": ".zarr", "ours_zstd": ".zarr", "copied": ".npy"}


@dataclass(frozen=True, slots=True)
class Read:
    """One pass of a reader."""

    patches: int
    """Patches that were read."""

    seconds: float
    """Seconds from opening to the last byte of the last batch."""

    cpu_s: float
    """CPU seconds of its process in this time."""

    peak_resident_mib: float
    """Peak memory of its process."""

    others_share: float
    """Share of the machine's CPU time that other programs used."""

    disk_bytes: int
    """Bytes that were read from the disk."""

    @property
    def rate(self) -> float:
        """Patches per second."""
        return self.patches / self.seconds

    @property
    def disturbance(self) -> float:
        """Share of the machine's CPU time that other programs used."""
        return self.others_share

    def to_record(self, name: str) -> dict[str, Any]:
        """For the record."""
        return {"reader": name, **{key: getattr(self, key) for key in self.__slots__}}


@dataclass(frozen=True, slots=True)
class _Bench:
    """Files and interpreters of the readers."""

    setup: Setup
    folder: Path

    def path(self, reader: str, kind: str = "") -> Path:
        """File or folder of a reader."""
        by = kind or _STORED_BY.get(reader, reader)
        return self.folder / f"{by}{_SUFFIX.get(by, '.data')}"

    def python(self, reader: str) -> Path:
        """The interpreter that has the reader's packages."""
        return python_of(self.setup.cache, reader) if reader in PEERS else Path(sys.executable)

    def job(self, reader: str, what: str, order: str, **more: Any) -> dict[str, Any]:
        """Job of `benchmarks.programs.batches`: `what` is read or write, `order` the name of an order of rows."""
        names = {"rows": "rows", "checksums": "checksums", "order": order}
        files = {name: str(self.folder / f"{file}.npy") for name, file in names.items()}
        return {"reader": reader, "what": what, "path": str(self.path(reader))} | files | more

    def run(self, python: Path, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run all jobs in one process; returns their answers."""
        what = ", ".join(f"{job['what']} {job['reader']}" for job in jobs)
        answers: list[dict[str, Any]] = run_program_by(python, "batches", jobs, self.folder, what)
        return answers

    def read(self, reader: str, order: str, kind: str = "") -> Read:
        """One pass of a reader; `kind` names the store if it is not the usual one of the reader."""
        path, longest_s = str(self.path(reader, kind)), _LONGEST_S[self.setup.size]
        job = self.job(reader, "read", order, path=path, cold=order != "warm", longest_s=longest_s)
        return Read(**self.run(self.python(reader), [job])[0])


def measure(setup: Setup) -> Findings:
    """Run all readers alternately: warm, several passes; cold, one pass at random and one in the order of the file."""
    rows, batch = _ROWS[setup.size], _BATCH[setup.size]
    bench = _Bench(setup, setup.scratch)
    findings = Findings(ranks=[1])
    known = [reader for reader in PEERS if reader != "rasterio_"]  # which reads no batches: see archive
    peers = [reader for reader in known if bench.python(reader).exists()]
    others = (*_OTHERS, *peers)
    _prepare(bench, (*_OURS, *others, "copied"), rows, batch)
    findings.data = {"rows": rows, "row_bytes": int(np.prod(_SHAPE)) * 2, "memory_bytes": memory_bytes()}
    findings.data |= {"scratch": disk_of(setup.scratch)}
    findings.layout = {
        "batch": batch,
        "longest_s": _LONGEST_S[setup.size],
        "shard_rows": 128,
        "chunk_rows": 1,
        "cores": os.cpu_count(),
    }
    findings.layout |= {"peers": {reader: PEERS[reader] for reader in peers}}
    repeats = setup.times(1, 5)
    tasks = {reader: partial(bench.read, reader, "warm") for reader in (*_OURS, *others, "copied")}
    tasks |= {f"{reader}_zstd": partial(bench.read, reader, "warm", "ours_zstd") for reader in _SAME_SHARDS}
    warm = interleave(tasks, repeats, setup.spares(repeats))
    findings.repeats += [{"case": "warm", **run} for run in warm.to_record()]
    _put_warm(findings, warm, list(others))
    if setup.size == "tiny":
        others = ("h5py_batches",)
    ours = ("ours_hdf5", "ours_zarr")
    at_random = [reader for reader in others if reader not in _SEQUENTIAL]
    tasks = {f"{reader} at_random": partial(bench.read, reader, "once") for reader in (*ours, *at_random)}
    for reader in (*ours, *others):
        order = "once" if reader in _SEQUENTIAL else "in_order"
        tasks[f"{reader} in_order"] = partial(bench.read, reader, order)
    cold = interleave(tasks, setup.times(1, 7), 0)
    findings.repeats += [{"case": "cold", **run} for run in cold.to_record()]
    _put_cold(findings, cold, at_random, list(others))
    findings.notes += [
        "The best peer is the reader with the lowest median ratio. In figure names, `ours` is this project.",
        "All readers prefetch two batches on two threads. The trainer's stream reuses its buffers, as in a training; "
        "the other readers manage memory as their packages do.",
        "Cold: after reading two batches, the files are dropped from the page cache. At random: one pass in random "
        "order; in order: one pass in the order of the file.",
        "The consumer verifies the checksum of each row, and so reads every byte. The copy runs on one thread, into "
        "memory that is already allocated; nothing reads its result.",
        "Files of sequential formats (TFRecord, WebDataset) are written in the order in which they are read.",
    ]
    missing = [reader for reader in known if reader not in peers]
    if missing:
        findings.notes.append(
            f"Not measured: {', '.join(missing)} (python -m benchmarks peers makes their environments)."
        )
    return findings


def _prepare(bench: _Bench, readers: tuple[str, ...], rows: int, batch: int) -> None:
    """Write the rows (noise around a mean of each band), their checksums and orders, and the files of each reader."""
    numbers = np.random.default_rng(0)
    pixels = np.empty((rows, *_SHAPE), np.uint16)
    for row in range(rows):
        pixels[row] = numbers.integers(200, 4000, (1, 1, _SHAPE[-1])) + numbers.integers(0, 256, _SHAPE)
    np.save(bench.folder / "rows.npy", pixels)
    sums = np.array([xxhash.xxh3_64_intdigest(row) for row in pixels], np.uint64)
    np.save(bench.folder / "checksums.npy", sums)
    order = numbers.permutation(rows).reshape(-1, batch)
    np.save(bench.folder / "once.npy", order)
    np.save(bench.folder / "in_order.npy", np.arange(rows).reshape(-1, batch))
    np.save(bench.folder / "warm.npy", np.tile(order, (_EPOCHS[bench.setup.size], 1)))
    jobs: dict[Path, list[dict[str, Any]]] = {}
    for reader in readers:
        if reader not in _STORED_BY:
            jobs.setdefault(bench.python(reader), []).append(bench.job(reader, "write", "once"))
    for python, jobs_of_python in jobs.items():
        bench.run(python, jobs_of_python)


def _rates(done: Repeats, reader: str) -> list[float]:
    return [read.rate for read in done.runs_of(reader)]


def _best(done: Repeats, ours: list[float], readers: list[str]) -> list[float]:
    """Rates, by repeat, of the best peer: the reader for which the median ratio of `ours` to it is lowest."""
    return min((_rates(done, reader) for reader in readers), key=lambda rates: median_of(ratios(ours, rates)))


def _put_warm(findings: Findings, done: Repeats, others: list[str]) -> None:
    figures, ours = findings.figures, _rates(done, "ours_hdf5")
    for reader in others:
        put_ratio(figures, f"warm_ours_over_{reader.rstrip('_')}", ours, _rates(done, reader))
    put_ratio(figures, "warm_ours_over_best_peer", ours, _best(done, ours, others))
    put_ratio(figures, "warm_ours_over_copy", ours, _rates(done, "copied"))
    for kind, reader in (("", "ours_zarr"), ("_zstd", "ours_zstd")):
        zarr = _rates(done, reader)
        best = _best(done, zarr, [f"{reader}{kind}" for reader in _SAME_SHARDS])
        put_ratio(figures, f"warm_zarr{kind}_over_best_reader_of_the_same_shards", zarr, best)
    for reader in done.all[0]:
        name = reader.rstrip("_").replace("__", "_")
        figures[f"warm_{name}_patches_per_second_median"] = median_of(_rates(done, reader))
        cpu_ms = [1000 * read.cpu_s / read.patches for read in done.runs_of(reader)]
        figures[f"warm_{name}_cpu_milliseconds_a_patch_median"] = median_of(cpu_ms)
        figures[f"warm_{name}_peak_resident_mib"] = max(read.peak_resident_mib for read in done.runs_of(reader))
    figures["others_cpu_share_largest_warm"] = max(
        e.others_share for reader in done.all[0] for e in done.runs_of(reader)
    )
    findings.bars += [
        Bar("warm_ours_over_generator_ratio_median", 4.0, at_least=True),
        Bar("warm_ours_over_best_peer_ratio_median", 1.5, at_least=True),
        Bar("warm_ours_over_copy_ratio_median", 0.25, at_least=True, aim=0.4),
        Bar("warm_zarr_over_best_reader_of_the_same_shards_ratio_median", 1.0, at_least=True),
        Bar("warm_zarr_zstd_over_best_reader_of_the_same_shards_ratio_median", 1.0, at_least=True),
    ]


def _put_cold(findings: Findings, done: Repeats, at_random: list[str], others: list[str]) -> None:
    figures = findings.figures
    for mine, its, readers in (
        ("at_random", "at_random", at_random),
        ("in_order", "in_order", others),
        ("at_random", "in_order", others),
    ):
        ours = _rates(done, f"ours_hdf5 {mine}")
        best = _best(done, ours, [f"{reader} {its}" for reader in readers])
        put_ratio(figures, f"cold_{mine}_ours_over_best_peer_{its}", ours, best)
    for task in done.all[0]:
        name = task.replace("_ ", "_").replace(" ", "_")
        figures[f"cold_{name}_patches_per_second_median"] = median_of(_rates(done, task))
    row_bytes = int(np.prod(_SHAPE)) * 2
    from_disk = [e.disk_bytes / (e.patches * row_bytes) for task in done.all[0] for e in done.runs_of(task)]
    figures["cold_share_read_from_disk_smallest"] = min(from_disk)
    findings.bars += [
        Bar("cold_at_random_ours_over_best_peer_at_random_ratio_median", 1.0, at_least=True),
        Bar("cold_in_order_ours_over_best_peer_in_order_ratio_median", 1.0, at_least=True),
    ]
