"""Extraction of one tile from each kind of source: JPEG 2000 on the disk, the same in a bucket, and Zarr."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.eopf_products import write_eopf
from benchmarks.extraction import Extraction, Task, run_extraction
from benchmarks.findings import Bar, Findings, Run, interleave, median_of, put_ratio
from benchmarks.inputs import TileInput, make_tile
from benchmarks.object_store import ObjectStore, Wire, object_store
from benchmarks.page_cache import disk_of, warm
from benchmarks.setup import Setup
from etl.bands import GROUPS
from etl.catalogue.table import read_catalogue_table, write_catalogue
from etl.files import replace_atomically
from etl.plan.layers import blocks_of
from etl.source.jp2_parts import index_jp2

__all__ = ["QUESTION", "measure"]

QUESTION = "What does a tile cost that is read from a bucket, or from Zarr, instead of JPEG 2000 on the disk?"

_RANKS = {"tiny": 2, "laptop": 2, "cluster": 8}

_LATENCY_S = 0.02

_DECODER = "limited"
"""Name of the thread of a rank that decodes, and does nothing else."""


def measure(setup: Setup) -> Findings:
    """Extract the tile from each source alternately; then a part of it from the bucket, to count what is fetched."""
    source = make_tile(setup)
    ranks, findings = _RANKS[setup.size], Findings(ranks=[_RANKS[setup.size]])
    findings.data = {
        "tile_px": source.product.grid.size_px,
        "patches": source.cells**2,
        "source_bytes": warm(source.files),
        "scratch": disk_of(setup.scratch),
    }
    zarr = _zarr_of(setup, source)
    warm([path for path in zarr.rglob("*") if path.is_file()])
    with object_store(setup.scratch / "weed", "products") as store, Wire(store.port, 0) as wire:
        store.upload(source.source, "tiles")
        _put_traffic(setup, source, store, wire, findings)
        with Wire(store.port, _LATENCY_S) as slow:
            tasks = {
                "disk": Task(source.catalogue, source.source, ("--no-check-files",)),
                "bucket": _bucket_task(setup, source.catalogue, store, wire.port),
                "bucket_20ms": _bucket_task(setup, source.catalogue, store, slow.port),
                "zarr": Task(source.catalogue, zarr),
            }
            methods: dict[str, Callable[[], Run]] = {
                name: partial(run_extraction, setup, task, ranks) for name, task in tasks.items()
            }
            run_extraction(setup, tasks["bucket_20ms"], ranks)  # where the tile-parts lie is kept by address
            repeats = setup.times(1, 3)
            done = interleave(methods, repeats, setup.spares(repeats))
    findings.repeats = done.to_record()
    runs: dict[str, list[Extraction]] = {name: done.runs_of(name) for name in tasks}
    _put(findings, runs)
    findings.notes += [
        "All files are in the page cache. Bytes and requests are those of a first and of a second run over a part of "
        "the tile; the index of tile-parts is made by the first.",
        "Both buckets are reached through a program of this benchmark, which counts, and can wait.",
        "Without the time of its decoding thread, a rank interleaves, computes statistics and checksums, and writes.",
        f"The slow bucket answers {1000 * _LATENCY_S:.0f} ms later; the server's CPU time is not counted.",
    ]
    return findings


def _zarr_of(setup: Setup, source: TileInput) -> Path:
    """The tile in Zarr, as ESA's new processors write it; made if it is not in the cache."""
    home = setup.cache / f"tile-{source.product.grid.size_px}-zarr"
    if not home.exists():
        with replace_atomically(home, sync=False, concurrent=True) as temporary:
            write_eopf(Path(source.product.path), temporary)
    return home


def _bucket_task(setup: Setup, catalogue: Path, store: ObjectStore, port: int) -> Task:
    environment = {**store.environment(port), "XDG_CACHE_HOME": str(setup.scratch / "cache")}
    return Task(catalogue, Path(f"s3://{store.bucket}/tiles"), environment=environment)


class _Need(NamedTuple):
    """What a part of the tile needs of its image files."""

    bytes: int
    """Bytes of the tile-parts of all blocks that its patches touch."""

    runs: int
    """Runs of neighbouring tile-parts in all files."""

    files: int
    """Image files."""


def _need_of(source: TileInput, cells: Sequence[tuple[int, int]]) -> _Need:
    """What the patches in the given rows and columns of the tile need."""
    j, i = np.array(cells).T
    size, runs, files = 0, 0, 0
    for layer in source.layers:
        windows = [layer.block_window(index) for index in np.unique(blocks_of(layer, j, i)).tolist()]
        bands = ("SCL",) if layer.name == "scl" else next(g.bands for g in GROUPS if g.name == layer.name)
        for band in bands:
            with Path(source.product.files[band]).open("rb") as file:
                parts = index_jp2(partial(_read, file.fileno()), os.fstat(file.fileno()).st_size)
            numbers = np.unique([number for window in windows for _, of in parts.tiles_in(window) for number in of])
            size += int(parts.length[numbers].sum())
            runs += 1 + int((np.diff(numbers) > 1).sum())
            files += 1
    return _Need(size, runs, files)


def _read(descriptor: int, offset: int, size: int) -> bytes:
    return os.pread(descriptor, size, offset)


def _put_traffic(setup: Setup, source: TileInput, store: ObjectStore, wire: Wire, findings: Findings) -> None:
    """Extract a quarter of the tile twice on one rank, and add what was fetched."""
    side = source.cells // 2
    cells = [(row, column) for row in range(side) for column in range(side)]
    catalogue = setup.scratch / "quarter.parquet"
    write_catalogue(
        catalogue,
        read_catalogue_table(source.catalogue).take([row * source.cells + column for row, column in cells]),
    )
    need = _need_of(source, cells)
    for time in ("first", "later"):
        wire.reset()
        run = run_extraction(setup, _bucket_task(setup, catalogue, store, wire.port), 1)
        findings.figures |= {
            f"fetched_over_needed_bytes_{time}_ratio": wire.received_bytes / need.bytes,
            f"image_requests_{time}_count": sum(".jp2 " in line for line in wire.requests),
            f"all_requests_{time}_count": len(wire.requests),
            f"quarter_{time}_seconds": run.seconds,
        }
    allowed = 3 * need.files + need.runs
    findings.figures |= {"needed_mib": need.bytes / 2**20, "needed_runs_count": need.runs}
    findings.figures["image_requests_over_allowed_ratio"] = findings.figures["image_requests_later_count"] / allowed
    findings.bars += [Bar("fetched_over_needed_bytes_later_ratio", 1.1), Bar("image_requests_over_allowed_ratio", 1)]


def _put(findings: Findings, runs: dict[str, list[Extraction]]) -> None:
    """Add the figures of all runs over the whole tile."""
    figures, disk = findings.figures, runs["disk"]
    for name, of in runs.items():
        figures[f"{name}_seconds_median"] = median_of([run.seconds for run in of])
        figures[f"{name}_cpu_seconds_median"] = median_of([run.cpu_s for run in of])
        figures[f"{name}_peak_resident_largest_mib"] = max(max(run.outcome.by_rank("peak_resident_mib")) for run in of)
        figures[f"{name}_beside_decoding_cpu_seconds_median"] = median_of(list(map(_beside_decoding, of)))
        if name != "disk":
            put_ratio(figures, f"{name}_over_disk", [r.seconds for r in of], [r.seconds for r in disk])
            put_ratio(figures, f"{name}_cpu_over_disk_cpu", [r.cpu_s for r in of], [r.cpu_s for r in disk])
    put_ratio(
        figures,
        "zarr_beside_decoding_over_disk",
        list(map(_beside_decoding, runs["zarr"])),
        list(map(_beside_decoding, disk)),
    )
    findings.bars += [
        Bar("bucket_cpu_over_disk_cpu_ratio_median", 1.15),
        Bar("bucket_20ms_cpu_over_disk_cpu_ratio_median", 1.15),
        Bar("zarr_beside_decoding_over_disk_ratio_median", 1.1),
        Bar("zarr_peak_resident_largest_mib", 1024),
    ]


def _beside_decoding(run: Extraction) -> float:
    """CPU seconds of all ranks without those of the threads that decode."""
    return run.cpu_s - sum(float(rank["threads_cpu_s"][_DECODER]) for rank in run.outcome.ranks)
