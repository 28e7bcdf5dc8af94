"""Extraction of one tile, open to close and sync, against a plain GDAL loop that decodes each needed block once."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.extraction import Extraction, Loop, Task, plain_write, read_loop, run_extraction
from benchmarks.findings import Bar, Findings, Repeats, Run, interleave, median_of, put_ratio
from benchmarks.inputs import TileInput, block_job, tile
from benchmarks.page_cache import disk_of, resident_share, warm
from benchmarks.setup import Setup
from etl.schema import Schema

__all__ = ["QUESTION", "measure"]

QUESTION = "How much longer does extracting a tile take than decoding each of its blocks once?"

_RANKS = {"tiny": (1, 2), "laptop": (1, 2), "cluster": (1, 8, 36)}


def measure(setup: Setup) -> Findings:
    """Extraction and bare loop, interleaved, at each number of ranks."""
    source = tile(setup)
    job, task = block_job(source), Task(source.catalogue, source.source)
    source_bytes, store_bytes = warm(source.files), Schema(source.cells**2).row_bytes * source.cells**2
    found = Findings(ranks=list(_RANKS[setup.size]), data=_data(setup, source, source_bytes))
    found.layout = {layer.name: {"block_px": layer.block_px, "bands": layer.band_count} for layer in source.layers}
    found.notes.append("Both run from a warm page cache, one decoding thread a rank; the bar holds for the most ranks.")
    repeats = setup.times(1, 5)
    for ranks in found.ranks:
        ways: dict[str, Callable[[], Run]] = {
            "extract": partial(run_extraction, setup, task, ranks),
            "decode": partial(read_loop, setup, job, ranks),
            "write": partial(plain_write, setup, store_bytes, ranks),
        }
        done = interleave(ways, repeats, setup.spares(repeats))
        found.repeats += done.short()
        _put(found.figures, ranks, done.of("extract"), done.of("decode"))
        _put_write(found.figures, ranks, done)
        _put_blocks(found.figures, done.of("decode")[-1])
    most = f"extract_over_decode_{found.ranks[-1]}_ranks_ratio_median"
    found.bars.append(Bar(most, 1.15, aim=1.05))
    return found


def _data(setup: Setup, source: TileInput, source_bytes: int) -> dict[str, object]:
    return {
        "tile_px": source.product.grid.size_px,
        "patches": source.cells**2,
        "source_bytes": source_bytes,
        "source_in_page_cache_share": resident_share(source.files),
        "scratch": disk_of(setup.scratch),
    }


def _put(figures: dict[str, float], ranks: int, runs: Sequence[Extraction], loops: Sequence[Loop]) -> None:
    """Figures of one number of ranks."""
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
    """What the same bytes cost when they are only written, and what extraction costs beyond both of its peers."""
    at, writes = f"{ranks}_ranks", done.of("write")
    figures[f"plain_write_seconds_median_{at}"] = median_of([r.seconds for r in writes])
    figures[f"plain_write_cpu_seconds_median_{at}"] = median_of([r.cpu_s for r in writes])
    together = [decode.cpu_s + write.cpu_s for decode, write in zip(done.of("decode"), writes, strict=True)]
    put_ratio(figures, f"extract_cpu_over_decode_and_write_cpu_{at}", [r.cpu_s for r in done.of("extract")], together)


def _put_blocks(figures: dict[str, float], loop: Loop) -> None:
    """CPU seconds of one block of all bands of a layer."""
    layers: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for layer, index, seconds in loop.blocks:
        layers[layer][index] += seconds
    for layer, seconds_of in layers.items():
        figures[f"block_{layer}_cpu_seconds_median"] = median_of(list(seconds_of.values()))
        figures[f"blocks_{layer}_count"] = len(seconds_of)
