"""Extraction with DSen2: against its networks alone on the same windows, and beside bilinear in cost and error."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.extraction import Extraction, Loop, Task, network_loop, run_extraction
from benchmarks.findings import Bar, Findings, Run, Skipped, interleave, median_of, put_ratio
from benchmarks.inputs import REAL_DATA, TileInput, network_weights, tile
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

QUESTION = "What does super-resolution cost in an extraction, and what does it bring, beside bilinear upsampling?"

_RANKS = {"tiny": (1,), "laptop": (1, 2), "cluster": (1, 8, 36)}
_CELLS = {"tiny": 2, "laptop": 6, "cluster": 24}
"""Patches along one side of the square that is extracted."""

_KINDS = ("over_networks", "cpu_over_networks_cpu")
"""What is held to the bar: wall seconds, and CPU seconds, which others on the machine disturb less."""


def measure(setup: Setup) -> Findings:
    """Bilinear, DSen2 and the networks alone, interleaved, at each number of ranks; then errors at reduced scale."""
    source, weights = tile(setup), network_weights(setup)
    side = _CELLS[setup.size]
    j, i = np.divmod(np.arange(side**2), side)
    catalogue = setup.scratch / "some.parquet"
    keep = (np.arange(source.cells**2) // source.cells < side) & (np.arange(source.cells**2) % source.cells < side)
    write_catalogue(catalogue, read_catalogue_table(source.catalogue).take(np.flatnonzero(keep)))
    source_bytes = warm(source.files)
    found = Findings(ranks=list(_RANKS[setup.size]))
    found.data = {
        "tile_px": source.product.grid.size_px,
        "patches": side**2,
        "source_bytes": source_bytes,
        "source_in_page_cache_share": resident_share(source.files),
        "scratch": disk_of(setup.scratch),
    }
    found.layout = {"weights": [network.to_record() for network in read_networks(weights["L2A"], "L2A")], "threads": 1}
    cells = np.stack([j, i], axis=1).tolist()
    for ranks in found.ranks:
        _at(setup, Task(catalogue, source.source), (source, weights["L2A"], cells), ranks, found)
    _tile(setup, source, len(cells), found)
    _errors(setup, source, weights, found)
    found.notes.append("The ratios: from the first block to the last sync, over the networks alone; start-up is apart.")
    found.notes.append("DSen2's seconds a tile are bilinear's and, for each patch, what DSen2 added to those measured.")
    return found


def _at(setup: Setup, task: Task, given: tuple[TileInput, Path, list[list[int]]], ranks: int, found: Findings) -> None:
    """Figures of one number of ranks."""
    source, weights, cells = given
    job = {"product": source.product.path, "cells": cells, "weights": str(weights), "threads": 1}
    ways: dict[str, Callable[[], Run]] = {"bilinear": partial(run_extraction, setup, task, ranks)}
    for precision in ("float32", "bfloat16"):
        flags = ("--upsample", "dsen2", "--weights", str(weights), "--precision", precision)
        ways[f"dsen2_{precision}"] = partial(run_extraction, setup, Task(task.catalogue, task.source, flags), ranks)
        ways[f"network_{precision}"] = partial(network_loop, setup, {**job, "precision": precision}, ranks)
    repeats = setup.times(1, 3)
    done = interleave(ways, repeats, setup.spares(repeats))
    found.repeats += done.short()
    at = f"{ranks}_ranks"
    _put(found.figures, f"bilinear_{at}", done.of("bilinear"), len(cells))
    for precision in ("float32", "bfloat16"):
        runs, loops = done.of(f"dsen2_{precision}"), done.of(f"network_{precision}")
        _put(found.figures, f"dsen2_{precision}_{at}", runs, len(cells))
        _put_networks(found.figures, f"{precision}_{at}", runs, loops)
    found.figures[f"dsen2_start_seconds_median_{at}"] = median_of(
        [run.seconds - run.record["seconds_write"] for run in done.of("dsen2_float32")]
    )
    found.figures[f"others_cpu_share_largest_{at}"] = max(run.disturbance for name in ways for run in done.of(name))
    found.bars += [Bar(f"dsen2_{kind}_float32_{at}_ratio_median", 1.15) for kind in _KINDS]


def _put(figures: dict[str, float], name: str, runs: Sequence[Extraction], patches: int) -> None:
    """Seconds and memory of one way of upsampling."""
    written_s = median_of([run.record["seconds_write"] for run in runs])
    figures[f"{name}_patch_seconds_median"] = written_s / patches
    figures[f"{name}_cpu_seconds_median"] = median_of([sum(run.record["cpu_seconds_of_ranks"]) for run in runs])
    figures[f"{name}_peak_resident_largest_mib"] = max(max(run.outcome.of("peak_resident_mib")) for run in runs)


def _tile(setup: Setup, source: TileInput, patches: int, found: Findings) -> None:
    """Core seconds and bytes of the whole tile: bilinear by one run, DSen2 by what it adds to each of some patches."""
    ranks, figures, whole = found.ranks[-1], found.figures, source.cells**2
    run = run_extraction(setup, Task(source.catalogue, source.source), ranks)
    found.repeats.append(run.short("bilinear_whole_tile"))
    core_s = figures["bilinear_tile_core_seconds"] = sum(run.record["cpu_seconds_of_ranks"])
    bilinear_s = figures[f"bilinear_{ranks}_ranks_cpu_seconds_median"]
    for precision in ("float32", "bfloat16"):
        added_s = figures[f"dsen2_{precision}_{ranks}_ranks_cpu_seconds_median"] - bilinear_s
        figures[f"dsen2_{precision}_tile_core_seconds"] = core_s + added_s * whole / patches
    figures["store_tile_mib"] = Schema(1).row_bytes * whole / 2**20


def _put_networks(figures: dict[str, float], name: str, runs: Sequence[Extraction], loops: Sequence[Loop]) -> None:
    """What all of the extraction takes beyond its networks."""
    written = [run.record["seconds_write"] for run in runs]
    put_ratio(figures, f"dsen2_over_networks_{name}", written, [loop.seconds for loop in loops])
    cpu = [sum(run.record["cpu_seconds_of_ranks"]) for run in runs]
    put_ratio(figures, f"dsen2_cpu_over_networks_cpu_{name}", cpu, [loop.cpu_s for loop in loops])
    figures[f"networks_{name}_seconds_median"] = median_of([loop.seconds for loop in loops])
    figures[f"networks_{name}_cpu_seconds_median"] = median_of([loop.cpu_s for loop in loops])


def _errors(setup: Setup, source: TileInput, weights: dict[str, Path], found: Findings) -> None:
    """Mean errors at reduced scale: on the real scene, which is Level-1C; on the sample where that is absent."""
    scene = _real_scene(setup)
    level, out = ("L1C" if scene else "L2A"), setup.scratch / "scores"
    flags = ("evaluate", str(scene or source.product.path), "--weights", str(weights[level]), "--out", str(out))
    problem = prepare("etl.superres", flags, setup.scratch)
    if problem:
        raise Skipped(problem)
    record = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    found.figures |= {f"{name}_counts": value for name, value in record["figures"].items()}
    found.data["errors_on"] = record["measured"][0]["scene"]
    if scene and setup.size != "tiny":
        found.bars += [Bar("rmse_20m_dsen2_counts", 33.5), Bar("rmse_60m_dsen2_counts", 16.5)]


def _real_scene(setup: Setup) -> Path | None:
    """The real scene as a product; None where it is absent, and at size tiny."""
    paths = sorted((REAL_DATA / "scenes").glob("*.npz"))
    if setup.size == "tiny" or not paths:
        return None
    with np.load(paths[0]) as file:
        groups = [file[f"data_{group.name}"] for group in GROUPS]
    sensed = datetime(2017, 5, 27, 10, 20)
    scl = np.full(groups[1].shape[:2], 4, np.uint8)
    spec = ProductSpec("S2A", sensed, sensed, sensed, 65, 10070, "33UUB", "02.05")
    return write_product(setup.scratch / "scene", spec, TilePixels(groups[0], groups[1], groups[2], scl))
