"""Extraction with DSen2: time compared with its networks alone; time and error compared with bilinear."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.extraction import Extraction, Loop, Task, network_loop, run_extraction
from benchmarks.findings import Bar, Findings, Run, Skipped, interleave, median_of, put_ratio
from benchmarks.inputs import REAL_DATA, TileInput, make_network_weights, make_tile
from benchmarks.launch import prepare
from benchmarks.page_cache import disk_of, resident_share, warm
from benchmarks.setup import Setup
from etl.bands import GROUPS
from etl.catalogue.table import read_catalogue_table, write_catalogue
from etl.sample.pixels import TilePixels
from etl.sample.product import ProductSpec
from etl.sample.safe import write_product
from etl.schema import Schema
from etl.upsample.weights import read_networks

__all__ = ["QUESTION", "measure"]

QUESTION = "What does super-resolution cost in an extraction, and how much smaller is its error than bilinear's?"

_RANKS = {"tiny": (1,), "laptop": (1, 2), "cluster": (1, 8, 36)}
_CELLS = {"tiny": 2, "laptop": 6, "cluster": 24}
"""Patches along one side of the square that is extracted."""

_KINDS = ("over_networks", "cpu_over_networks_cpu")
"""Ratios that have a bar: of wall seconds, and of CPU seconds, which other programs disturb less."""


def measure(setup: Setup) -> Findings:
    """Run bilinear, DSen2 and the networks alone alternately at each number of ranks; then measure the errors."""
    source, weights = make_tile(setup), make_network_weights(setup)
    side = _CELLS[setup.size]
    j, i = np.divmod(np.arange(side**2), side)
    catalogue = setup.scratch / "some.parquet"
    keep = (np.arange(source.cells**2) // source.cells < side) & (np.arange(source.cells**2) % source.cells < side)
    write_catalogue(catalogue, read_catalogue_table(source.catalogue).take(np.flatnonzero(keep)))
    source_bytes = warm(source.files)
    findings = Findings(ranks=list(_RANKS[setup.size]))
    findings.data = {
        "tile_px": source.product.grid.size_px,
        "patches": side**2,
        "source_bytes": source_bytes,
        "source_in_page_cache_share": resident_share(source.files),
        "scratch": disk_of(setup.scratch),
    }
    findings.layout = {
        "weights": [network.to_record() for network in read_networks(weights["L2A"], "L2A")],
        "threads": 1,
    }
    cells = np.stack([j, i], axis=1).tolist()
    for ranks in findings.ranks:
        job = {"product": source.product.path, "cells": cells, "weights": str(weights["L2A"]), "threads": 1}
        _at(setup, Task(catalogue, source.source), job, ranks, findings)
    _tile(setup, source, len(cells), findings)
    _errors(setup, source, weights, findings)
    findings.notes.append(
        "Ratios: from the first block to the last sync, without start-up, divided by the networks alone."
    )
    findings.notes.append(
        "Seconds of DSen2 per tile: those of bilinear, plus the time that DSen2 added to each measured patch."
    )
    return findings


def _at(setup: Setup, task: Task, job: dict[str, Any], ranks: int, findings: Findings) -> None:
    """Add the figures of one number of ranks; `job`: that of `benchmarks.programs.network`, without precision."""
    cells = job["cells"]
    methods: dict[str, Callable[[], Run]] = {"bilinear": partial(run_extraction, setup, task, ranks)}
    for precision in ("float32", "bfloat16"):
        flags = ("--upsample", "dsen2", "--weights", job["weights"], "--precision", precision)
        methods[f"dsen2_{precision}"] = partial(run_extraction, setup, Task(task.catalogue, task.source, flags), ranks)
        methods[f"network_{precision}"] = partial(network_loop, setup, {**job, "precision": precision}, ranks)
    repeats = setup.times(1, 3)
    done = interleave(methods, repeats, setup.spares(repeats))
    findings.repeats += done.to_record()
    at = f"{ranks}_ranks"
    _put(findings.figures, f"bilinear_{at}", done.runs_of("bilinear"), len(cells))
    for precision in ("float32", "bfloat16"):
        runs, loops = done.runs_of(f"dsen2_{precision}"), done.runs_of(f"network_{precision}")
        _put(findings.figures, f"dsen2_{precision}_{at}", runs, len(cells))
        _put_networks(findings.figures, f"{precision}_{at}", runs, loops)
    findings.figures[f"dsen2_start_seconds_median_{at}"] = median_of(
        [run.seconds - run.record["seconds_write"] for run in done.runs_of("dsen2_float32")]
    )
    findings.figures[f"others_cpu_share_largest_{at}"] = max(
        run.disturbance for name in methods for run in done.runs_of(name)
    )
    findings.bars += [Bar(f"dsen2_{kind}_float32_{at}_ratio_median", 1.15) for kind in _KINDS]


def _put(figures: dict[str, float], name: str, runs: Sequence[Extraction], patches: int) -> None:
    """Add seconds and memory of one upsampling method."""
    written_s = median_of([run.record["seconds_write"] for run in runs])
    figures[f"{name}_patch_seconds_median"] = written_s / patches
    figures[f"{name}_cpu_seconds_median"] = median_of([sum(run.record["cpu_seconds_of_ranks"]) for run in runs])
    figures[f"{name}_peak_resident_largest_mib"] = max(max(run.outcome.by_rank("peak_resident_mib")) for run in runs)


def _tile(setup: Setup, source: TileInput, patches: int, findings: Findings) -> None:
    """Add core seconds and size of a whole tile: bilinear measured, DSen2 computed from what it adds to a patch."""
    ranks, figures, whole = findings.ranks[-1], findings.figures, source.cells**2
    run = run_extraction(setup, Task(source.catalogue, source.source), ranks)
    findings.repeats.append(run.to_record("bilinear_whole_tile"))
    core_s = figures["bilinear_tile_core_seconds"] = sum(run.record["cpu_seconds_of_ranks"])
    bilinear_s = figures[f"bilinear_{ranks}_ranks_cpu_seconds_median"]
    for precision in ("float32", "bfloat16"):
        added_s = figures[f"dsen2_{precision}_{ranks}_ranks_cpu_seconds_median"] - bilinear_s
        figures[f"dsen2_{precision}_tile_core_seconds"] = core_s + added_s * whole / patches
    figures["store_tile_mib"] = Schema(1).row_bytes * whole / 2**20


def _put_networks(figures: dict[str, float], name: str, runs: Sequence[Extraction], loops: Sequence[Loop]) -> None:
    """Add the ratio of the extraction to its networks alone."""
    written = [run.record["seconds_write"] for run in runs]
    put_ratio(figures, f"dsen2_over_networks_{name}", written, [loop.seconds for loop in loops])
    cpu = [sum(run.record["cpu_seconds_of_ranks"]) for run in runs]
    put_ratio(figures, f"dsen2_cpu_over_networks_cpu_{name}", cpu, [loop.cpu_s for loop in loops])
    figures[f"networks_{name}_seconds_median"] = median_of([loop.seconds for loop in loops])
    figures[f"networks_{name}_cpu_seconds_median"] = median_of([loop.cpu_s for loop in loops])


def _errors(setup: Setup, source: TileInput, weights: dict[str, Path], findings: Findings) -> None:
    """Add mean errors at reduced scale: on the real scene, which is Level-1C, or on the sample if that is absent."""
    scene = _real_scene(setup)
    level, out = ("L1C" if scene else "L2A"), setup.scratch / "scores"
    flags = ("evaluate", str(scene or source.product.path), "--weights", str(weights[level]), "--out", str(out))
    problem = prepare("etl.superres", flags, setup.scratch)
    if problem:
        raise Skipped(problem)
    record = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    findings.figures |= {f"{name}_counts": value for name, value in record["figures"].items()}
    findings.data["errors_on"] = record["measured"][0]["scene"]
    if scene and setup.size != "tiny":
        findings.bars += [Bar("rmse_20m_dsen2_counts", 33.5), Bar("rmse_60m_dsen2_counts", 16.5)]


def _real_scene(setup: Setup) -> Path | None:
    """The real scene as a product; None if it is absent, and at size tiny."""
    paths = sorted((REAL_DATA / "scenes").glob("*.npz"))
    if setup.size == "tiny" or not paths:
        return None
    with np.load(paths[0]) as file:
        groups = [file[f"data_{group.name}"] for group in GROUPS]
    sensed = datetime(2017, 5, 27, 10, 20)
    scl = np.full(groups[1].shape[:2], 4, np.uint8)
    spec = ProductSpec("S2A", sensed, sensed, sensed, 65, 10070, "33UUB", "02.05")
    return write_product(setup.scratch / "scene", spec, TilePixels(groups[0], groups[1], groups[2], scl))
