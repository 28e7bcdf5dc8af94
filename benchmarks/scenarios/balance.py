"""How evenly a plan distributes the work: a replay of measured blocks on many ranks, and real runs on few.

Inefficiency = ranks x the slowest rank's busy time / the time to do every piece of work once.
"""

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from benchmarks.extraction import Extraction, Loop, Task, read_loop, run_extraction
from benchmarks.findings import Bar, Findings, Skipped
from benchmarks.inputs import REAL_DATA, TileInput, block_job, make_tile
from benchmarks.launch import prepare
from benchmarks.page_cache import warm
from benchmarks.replay import Measured, draw, pack_tiles, replay
from benchmarks.setup import Setup
from etl.bands import PATCH_M
from etl.catalogue.table import read_catalogue
from etl.grid import nominal_origin
from etl.plan.layers import Layer
from etl.plan.work import Cost, ProductPatches, make_plan

__all__ = ["QUESTION", "measure"]

QUESTION = "How much longer does the busiest rank work than if all work were distributed evenly and done once?"

_REPLAYED = {"tiny": (3, 16), "laptop": (72, 256, 1024, 16384), "cluster": (72, 256, 1024, 16384)}
_REAL = {"tiny": (1, 2), "laptop": (1, 2, 4, 8), "cluster": (1, 2, 4, 8, 36)}
_BARS = {72: (1.08, 1.04), 256: (1.25, 1.1), 1024: (1.5, 1.25)}
_TILE_SPREAD = 0.2
"""Assumed spread of the seconds per pixel between products (clouds and water decode faster than towns)."""


def measure(setup: Setup) -> Findings:
    """Measure the time of each block, replay the plans with these times, and compare with real runs."""
    source = make_tile(setup)
    warm(source.files)
    loop = read_loop(setup, block_job(source), 1)
    findings = Findings(ranks=[*_REAL[setup.size], *_REPLAYED[setup.size]], repeats=[loop.to_record("decode")])
    runs = [run_extraction(setup, Task(source.catalogue, source.source), ranks) for ranks in _REAL[setup.size]]
    findings.repeats += [run.to_record("extract") for run in runs]
    patch_s = max(0.0, (runs[0].outcome.cpu_s - loop.cpu_s) / source.cells**2)
    findings.figures["patch_cpu_seconds"] = patch_s
    for run in runs:
        _put_real(findings, run, runs[0])
    products = _small_products(source.layers) if setup.size == "tiny" else _listed_products(setup, source.layers)
    if not products:
        findings.notes.append(f"Not replayed: the lists of BigEarthNet are not at {REAL_DATA / 'lists'}.")
        return findings
    findings.data = {"tiles": len(products), "patches": sum(len(p.rows) for p in products), "tile_spread": _TILE_SPREAD}
    for ranks in _REPLAYED[setup.size]:
        _put_replayed(findings, products, _measured(source, loop), patch_s, ranks)
    findings.notes += [
        "Replay: the CPU seconds of each block are drawn from those measured for its layer. The plan does not know "
        "them, only its own cost model.",
        "Real runs: CPU seconds of each rank from its first block to its last sync, because ranks share cores; "
        "compared with the run on one rank.",
    ]
    return findings


def _measured(source: TileInput, loop: Loop) -> Measured:
    seconds: dict[tuple[str, int], float] = defaultdict(float)
    for layer, index, taken_s in loop.blocks:
        seconds[layer, index] += taken_s
    return Measured.of(source.layers, seconds)


def _put_replayed(
    findings: Findings, products: Sequence[ProductPatches], measured: Measured, patch_s: float, ranks: int
) -> None:
    """Add the figures of one number of ranks."""
    seconds, figures, at = draw(products, measured), findings.figures, f"{ranks}_ranks"
    for balance in ("cost", "paper"):
        start = time.perf_counter()
        plan = make_plan(products, ranks, balance)
        figures[f"plan_{balance}_{at}_seconds"] = time.perf_counter() - start
        whole = replay(plan, products, seconds, patch_s)
        figures[f"inefficiency_all_work_{balance}_{at}"] = whole.inefficiency
        figures[f"inefficiency_all_work_with_waiting_{balance}_{at}"] = whole.inefficiency_with_waiting
        figures[f"decoded_twice_{balance}_{at}_share"] = whole.decoded_twice
        alone = replay(make_plan(products, ranks, balance, Cost(patch_s=0.0)), products, seconds, 0.0)
        figures[f"inefficiency_decoding_{balance}_{at}"] = alone.decode_inefficiency
        figures[f"inefficiency_decoding_with_waiting_{balance}_{at}"] = alone.inefficiency_with_waiting
    figures[f"inefficiency_decoding_whole_tiles_{at}"] = pack_tiles(products, seconds, 0.0, ranks)
    figures[f"inefficiency_all_work_whole_tiles_{at}"] = pack_tiles(products, seconds, patch_s, ranks)
    uneven = replay(make_plan(products, ranks), products, draw(products, measured, _TILE_SPREAD), patch_s)
    figures[f"inefficiency_all_work_cost_uneven_tiles_{at}"] = uneven.inefficiency
    if ranks in _BARS:
        limit, aim = _BARS[ranks]
        findings.bars += [Bar(f"inefficiency_{what}_cost_{at}", limit, aim=aim) for what in ("decoding", "all_work")]


def _put_real(findings: Findings, run: Extraction, alone: Extraction) -> None:
    """Add the figures of a real run, compared with the one on one rank."""
    slowest, once = (extraction.record["seconds_by_stage"]["cpu_s"]["max"] for extraction in (run, alone))
    findings.figures[f"real_inefficiency_all_work_{run.ranks}_ranks"] = run.ranks * slowest / once
    blocks = run.record["blocks_decoded"] / alone.record["blocks_decoded"] - 1.0
    findings.figures[f"real_blocks_decoded_twice_{run.ranks}_ranks_share"] = blocks
    findings.figures[f"predicted_inefficiency_decoding_{run.ranks}_ranks"] = run.record["predicted_inefficiency"]


def _small_products(layers: Sequence[Layer]) -> list[ProductPatches]:
    """Three small products with some patches left out, for the tests."""
    numbers, products = np.random.default_rng(0), []
    side = layers[0].size_px[0] // layers[0].patch_px
    for number in range(3):
        keep = np.flatnonzero(numbers.random(side**2) < 0.7)
        products.append(ProductPatches(keep + number * side**2, keep // side, keep % side, tuple(layers)))
    return products


def _listed_products(setup: Setup, layers: Sequence[Layer]) -> list[ProductPatches]:
    """The kept patches of BigEarthNet by product, as the extraction would have them; empty without the lists."""
    path, lists = setup.cache / "bigearthnet.parquet", REAL_DATA / "lists"
    if not path.exists() and not lists.is_dir():
        return []
    if not path.exists():
        problem = prepare("etl.catalogue", ("--source", str(lists), "--out", str(path)), setup.cache)
        if problem:
            raise Skipped(problem)
    catalogue = read_catalogue(path)
    catalogue = catalogue.take(~(catalogue.snow | catalogue.cloud))
    products = []
    _, first, product_of = np.unique(catalogue.product, return_index=True, return_inverse=True)
    for number in np.argsort(first):
        rows = np.flatnonzero(product_of == number)
        grid = nominal_origin(catalogue.tile[rows[0]].decode())
        j, i = (grid.uly - catalogue.uly[rows]) // PATCH_M, (catalogue.ulx[rows] - grid.ulx) // PATCH_M
        products.append(ProductPatches(rows, j.astype(np.intp), i.astype(np.intp), tuple(layers)))
    return products
