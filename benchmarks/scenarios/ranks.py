"""Two ranks on two cores against two independent one-rank copies of the same extraction that run at the same time."""

import os
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.extraction import Task, extract_together
from benchmarks.findings import Bar, Findings, Repeats, Run, interleave, median_of, put_ratio
from benchmarks.inputs import tile
from benchmarks.launch import UNBOUND
from benchmarks.page_cache import disk_of, warm
from benchmarks.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUESTION", "measure"]

QUESTION = "What do ranks lose by working together, against as many copies that know nothing of each other?"

_RANKS = {"tiny": (2,), "laptop": (2,), "cluster": (2, 8, 36)}


def measure(setup: Setup) -> Findings:
    """R ranks extract one tile; R one-rank copies extract R tiles meanwhile: tiles a second, as a ratio."""
    source = tile(setup)
    task = Task(source.catalogue, source.source, environment=UNBOUND)
    found = Findings(ranks=list(_RANKS[setup.size]))
    found.data = {"patches": source.cells**2, "source_bytes": warm(source.files), "scratch": disk_of(setup.scratch)}
    found.layout = {"cores": os.cpu_count()}
    repeats = setup.times(1, 3)
    for ranks in found.ranks:
        ways: dict[str, Callable[[], Run]] = {
            "together": partial(extract_together, setup, task, [ranks]),
            "copies": partial(extract_together, setup, task, [1] * ranks),
        }
        done = interleave(ways, repeats, setup.spares(repeats))
        found.repeats += done.short()
        _put(found.figures, ranks, done)
        found.bars.append(Bar(f"{ranks}_ranks_over_copies_ratio_median", 0.95, at_least=True))
    found.notes.append("Copies count with the slowest one; each writes a whole store of its own.")
    return found


def _put(figures: dict[str, float], ranks: int, done: Repeats) -> None:
    """Figures of one number of ranks."""
    together, copies = done.of("together"), done.of("copies")
    put_ratio(
        figures, f"{ranks}_ranks_over_copies", [run.seconds / ranks for run in copies], [r.seconds for r in together]
    )
    by_cpu = [run.cpu_s / ranks for run in copies], [run.cpu_s for run in together]
    put_ratio(figures, f"{ranks}_ranks_over_copies_by_cpu_seconds", *by_cpu)
    figures[f"together_{ranks}_ranks_seconds_median"] = median_of([run.seconds for run in together])
    figures[f"copies_{ranks}_ranks_seconds_median"] = median_of([run.seconds for run in copies])
    figures[f"others_cpu_share_largest_{ranks}_ranks"] = max(run.disturbance for run in (*together, *copies))
