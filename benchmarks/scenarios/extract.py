"""Time of extracting one tile, sync included, compared with a GDAL loop that decodes each needed block once."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.extraction import Extraction, Loop, Task, plain_write, read_loop, run_extraction
from benchmarks.findings import Bar, Findings, Repeats, Run, interleave, median_of, put_ratio
from benchmarks.inputs import TileInput, block_job, make_tile
from benchmarks.page_cache import disk_of, resident_share, warm
from benchmarks.setup import Setup
from etl.schema import Schema

__all__ = ["QUESTION", "measure"]

QUESTION = "How much longer does extracting a tile take than decoding each of its blocks once?"

_RANKS = {"tiny": (1, 2), "laptop": (1, 2), "cluster": (1, 8, 36)}


def measure(setup: Setup) -> Findings:
    """Run extraction, the bare GDAL loop and a plain write alternately, at each number of ranks."""
    source = make_tile(setup)
    job, task = block_job(source), Task(source.catalogue, source.source)
    source_bytes, store_bytes = warm(source.files), Schema(source.cells**2).row_bytes * source.cells**2
    findings = Findings(ranks=list(_RANKS[setup.size]), data=_data(setup, source, source_bytes))
    findings.layout = {layer.name: {"block_px": layer.block_px, "bands": layer.band_count} for layer in source.layers}
    findings.notes.append(
        "All files are in the page cache. Each rank has one decoding thread. The bar is for the most ranks."
    )
    repeats = setup.times(1, 5)
    for ranks in findings.ranks:
        methods: dict[str, Callable[[], Run]] = {
            "extract": partial(run_extraction, setup, task, ranks),
            "decode": partial(read_loop, setup, job, ranks),
            "write": partial(plain_write, setup, store_bytes, ranks),
        }
        done = interleave(methods, repeats, setup.spares(repeats))
        findings.repeats += done.to_record()
        _put(findings.figures, ranks, done.runs_of("extract"), done.runs_of("decode"))
        _put_write(findings.figures, ranks, done)
        _put_blocks(findings.figures, done.runs_of("decode")[-1])
    most = f"extract_over_decode_{findings.ranks[-1]}_ranks_ratio_median"
    findings.bars.append(Bar(most, 1.15, aim=1.05))
    return findings


def _data(setup: Setup, source: TileInput, source_bytes: int) -> dict[str, object]:
    return {
        "tile_px": source.product.grid.size_px,
        "patches": source.cells**2,
        "source_bytes": source_bytes,
        "source_in_page_cache_share": resident_share(source.files),
        "scratch": disk_of(setup.scratch),
    }


def _put(figures: dict[str, float], ranks: int, runs: Sequence[Extraction], loops: Sequence[Loop]) -> None:
    """Add the figures of one number of ranks."""
    at = f"{ranks}_ranks"
    put_ratio(figures, f"extract_over_decode_{at}", [r.seconds for r in runs], [r.seconds for r in loops])
    put_ratio(figures, f"extract_cpu_over_decode_cpu_{at}", [r.cpu_s for r in runs], [r.cpu_s for r in loops])
    walls = [r.outcome.wall_s for r in runs], [r.outcome.wall_s for r in loops]
    put_ratio(figures, f"extract_over_decode_with_start_{at}", *walls)
    figures[f"extract_seconds_median_{at}"] = median_of([r.seconds for r in runs])
    figures[f"decode_seconds_median_{at}"] = median_of([r.seconds for r in loops])
    figures[f"extract_cpu_seconds_median_{at}"] = median_of([r.cpu_s for r in runs])
    figures[f"decode_cpu_seconds_median_{at}"] = median_of([r.cpu_s for r in loops])
    for name in ("patches_per_second", "mib_per_second"):
        figures[f"extract_{name}_median_{at}"] = median_of([r.record[name] for r in runs])
    figures[f"others_cpu_share_largest_{at}"] = max([r.disturbance for r in runs] + [r.disturbance for r in loops])


def _put_write(figures: dict[str, float], ranks: int, done: Repeats) -> None:
    """Add the cost of only writing the same bytes, and the ratio of extraction to decoding and writing together."""
    at, writes = f"{ranks}_ranks", done.runs_of("write")
    figures[f"plain_write_seconds_median_{at}"] = median_of([r.seconds for r in writes])
    figures[f"plain_write_cpu_seconds_median_{at}"] = median_of([r.cpu_s for r in writes])
    together = [decode.cpu_s + write.cpu_s for decode, write in zip(done.runs_of("decode"), writes, strict=True)]
    put_ratio(
        figures, f"extract_cpu_over_decode_and_write_cpu_{at}", [r.cpu_s for r in done.runs_of("extract")], together
    )


def _put_blocks(figures: dict[str, float], loop: Loop) -> None:
    """Add the CPU seconds for one block in all bands of a layer."""
    layers: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for layer, index, seconds in loop.blocks:
        layers[layer][index] += seconds
    for layer, seconds_of in layers.items():
        figures[f"block_{layer}_cpu_seconds_median"] = median_of(list(seconds_of.values()))
        figures[f"blocks_{layer}_count"] = len(seconds_of)
