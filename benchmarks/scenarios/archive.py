"""Extraction from a folder of patch GeoTIFFs, against a bare GDAL loop that only reads them, and rasterio's."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.extraction import Extraction, Loop, Task, read_loop, run_extraction
from benchmarks.findings import Bar, Findings, Run, interleave, median_of, put_ratio
from benchmarks.inputs import patch_folder, tile
from benchmarks.page_cache import disk_of, resident_share, warm
from benchmarks.peers import ask_there, python_of
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How near does extraction from a patch folder come to the rate of a bare GDAL read loop?"

_RANKS = {"tiny": (2,), "laptop": (1, 2), "cluster": (1, 8, 36)}


def measure(setup: Setup) -> Findings:
    """Extraction with and without upsampling and the bare loop, interleaved, at each number of ranks."""
    patches = patch_folder(setup, tile(setup))
    files = [file for folder in patches.folders for file in folder.glob("*.tif")]
    source_bytes = warm(files)
    job = {"folders": [str(folder) for folder in patches.folders]}
    found = Findings(ranks=list(_RANKS[setup.size]))
    found.data = {
        "patches": len(patches.folders),
        "files": len(files),
        "real_pixels": patches.real,
        "source_bytes": source_bytes,
        "source_in_page_cache_share": resident_share(files[:600]),
        "scratch": disk_of(setup.scratch),
    }
    repeats = setup.times(1, 7)
    for ranks in found.ranks:
        ways: dict[str, Callable[[], Run]] = {"read": partial(read_loop, setup, job, ranks)}
        tasks = {way: Task(patches.catalogue, patches.source, ("--upsample", way)) for way in ("bilinear", "none")}
        ways |= {way: partial(run_extraction, setup, task, ranks) for way, task in tasks.items()}
        python = python_of(setup.cache, "rasterio_")
        if ranks == 1 and python.exists():
            ways["rasterio"] = partial(_rasterio, setup, python, job)
        done = interleave(ways, repeats, setup.spares(repeats))
        found.repeats += done.short()
        if "rasterio" in ways:
            loops = [run.seconds for run in done.of("rasterio")]
            put_ratio(found.figures, "archive_over_rasterio_1_ranks", loops, [r.seconds for r in done.of("bilinear")])
        for way in tasks:
            _put(found.figures, f"{way}_{ranks}_ranks", len(patches.folders), done.of(way), done.of("read"))
        found.bars.append(Bar(f"archive_over_read_bilinear_{ranks}_ranks_ratio_median", 0.8, at_least=True))
    found.notes.append("A ratio of rates, patches a second: extraction also upsamples, sums, hashes, writes and syncs.")
    found.notes.append(
        "rasterio: a patch's bands opened, read at 120 x 120 pixels and stacked, as torchgeo does; no more."
    )
    return found


@dataclass(frozen=True, slots=True)
class _Alone:
    """One pass of rasterio, in its own environment, without MPI."""

    seconds: float
    cpu_s: float
    others_share: float

    @property
    def disturbance(self) -> float:
        """Share of the machine that others took."""
        return self.others_share

    def short(self, name: str) -> dict[str, Any]:
        """For the record."""
        return {"run": name, **asdict(self)}


def _rasterio(setup: Setup, python: Path, job: dict[str, Any]) -> _Alone:
    """Run `benchmarks.programs.rasterio_` once."""
    return _Alone(**ask_there(python, "rasterio_", job, setup.scratch, "rasterio's loop"))


def _put(figures: dict[str, float], at: str, patches: int, runs: Sequence[Extraction], loops: Sequence[Loop]) -> None:
    """Figures of one way of extracting at one number of ranks."""
    put_ratio(figures, f"archive_over_read_{at}", [r.seconds for r in loops], [r.seconds for r in runs])
    put_ratio(figures, f"read_cpu_over_archive_cpu_{at}", [r.cpu_s for r in loops], [r.cpu_s for r in runs])
    figures[f"archive_patches_per_second_median_{at}"] = patches / median_of([r.seconds for r in runs])
    figures[f"read_patches_per_second_median_{at}"] = patches / median_of([r.seconds for r in loops])
    figures[f"others_cpu_share_largest_{at}"] = max([r.disturbance for r in runs] + [r.disturbance for r in loops])
