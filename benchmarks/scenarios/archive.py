"""Extraction from a folder of patch GeoTIFFs, compared with loops of GDAL and rasterio that only read them."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.extraction import Extraction, Loop, Task, read_loop, run_extraction
from benchmarks.findings import Bar, Findings, Run, interleave, median_of, put_ratio
from benchmarks.inputs import make_patch_folder, make_tile
from benchmarks.page_cache import disk_of, resident_share, warm
from benchmarks.peers import python_of, run_program_by
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How fast is extraction from a patch folder, compared with a GDAL loop that only reads the files?"

_RANKS = {"tiny": (2,), "laptop": (1, 2), "cluster": (1, 8, 36)}


def measure(setup: Setup) -> Findings:
    """Run extraction with and without upsampling and the bare loops alternately, at each number of ranks."""
    patches = make_patch_folder(setup, make_tile(setup))
    files = [file for folder in patches.folders for file in folder.glob("*.tif")]
    source_bytes = warm(files)
    job = {"folders": [str(folder) for folder in patches.folders]}
    findings = Findings(ranks=list(_RANKS[setup.size]))
    findings.data = {
        "patches": len(patches.folders),
        "files": len(files),
        "real_pixels": patches.real,
        "source_bytes": source_bytes,
        "source_in_page_cache_share": resident_share(files[:600]),
        "scratch": disk_of(setup.scratch),
    }
    repeats = setup.times(1, 7)
    for ranks in findings.ranks:
        methods: dict[str, Callable[[], Run]] = {"read": partial(read_loop, setup, job, ranks)}
        tasks = {
            method: Task(patches.catalogue, patches.source, ("--upsample", method)) for method in ("bilinear", "none")
        }
        methods |= {method: partial(run_extraction, setup, task, ranks) for method, task in tasks.items()}
        python = python_of(setup.cache, "rasterio_")
        if ranks == 1 and python.exists():
            methods["rasterio"] = partial(_rasterio, setup, python, job)
        done = interleave(methods, repeats, setup.spares(repeats))
        findings.repeats += done.to_record()
        if "rasterio" in methods:
            loops = [run.seconds for run in done.runs_of("rasterio")]
            put_ratio(
                findings.figures, "archive_over_rasterio_1_ranks", loops, [r.seconds for r in done.runs_of("bilinear")]
            )
        for method in tasks:
            _put(
                findings.figures,
                f"{method}_{ranks}_ranks",
                len(patches.folders),
                done.runs_of(method),
                done.runs_of("read"),
            )
        findings.bars.append(Bar(f"archive_over_read_bilinear_{ranks}_ranks_ratio_median", 0.8, at_least=True))
    findings.notes.append(
        "Ratios of patches per second. Extraction also upsamples, computes statistics and checksums, writes and syncs."
    )
    findings.notes.append(
        "rasterio: only opens the bands of a patch, reads them at 120 x 120 pixels and stacks them, as torchgeo does."
    )
    return findings


@dataclass(frozen=True, slots=True)
class _Alone:
    """One pass of rasterio, in its own environment, without MPI."""

    seconds: float
    cpu_s: float
    others_share: float

    @property
    def disturbance(self) -> float:
        """Share of the machine's CPU time that other programs used."""
        return self.others_share

    def to_record(self, name: str) -> dict[str, Any]:
        """For the record."""
        return {"run": name, **asdict(self)}


def _rasterio(setup: Setup, python: Path, job: dict[str, Any]) -> _Alone:
    """Run `benchmarks.programs.rasterio_` once."""
    return _Alone(**run_program_by(python, "rasterio_", job, setup.scratch, "rasterio's loop"))


def _put(figures: dict[str, float], at: str, patches: int, runs: Sequence[Extraction], loops: Sequence[Loop]) -> None:
    """Add the figures of one upsampling method at one number of ranks."""
    put_ratio(figures, f"archive_over_read_{at}", [r.seconds for r in loops], [r.seconds for r in runs])
    put_ratio(figures, f"read_cpu_over_archive_cpu_{at}", [r.cpu_s for r in loops], [r.cpu_s for r in runs])
    figures[f"archive_patches_per_second_median_{at}"] = patches / median_of([r.seconds for r in runs])
    figures[f"read_patches_per_second_median_{at}"] = patches / median_of([r.seconds for r in loops])
    figures[f"others_cpu_share_largest_{at}"] = max([r.disturbance for r in runs] + [r.disturbance for r in loops])
