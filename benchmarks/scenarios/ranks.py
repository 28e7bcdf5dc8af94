"""Extraction on several ranks, compared with as many independent one-rank extractions at the same time."""

import os
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.extraction import Task, extract_together
from benchmarks.findings import Bar, Findings, Repeats, Run, interleave, median_of, put_ratio
from benchmarks.inputs import make_tile
from benchmarks.launch import UNBOUND
from benchmarks.page_cache import disk_of, warm
from benchmarks.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUESTION", "measure"]

QUESTION = "What do ranks lose by working together, compared with as many independent copies?"

_RANKS = {"tiny": (2,), "laptop": (2,), "cluster": (2, 8, 36)}


def measure(setup: Setup) -> Findings:
    """Extract one tile on R ranks, and R tiles by R one-rank copies at the same time; ratio of tiles per second."""
    source = make_tile(setup)
    task = Task(source.catalogue, source.source, environment=UNBOUND)
    findings = Findings(ranks=list(_RANKS[setup.size]))
    findings.data = {"patches": source.cells**2, "source_bytes": warm(source.files), "scratch": disk_of(setup.scratch)}
    findings.layout = {"cores": os.cpu_count()}
    repeats = setup.times(1, 3)
    for ranks in findings.ranks:
        methods: dict[str, Callable[[], Run]] = {
            "together": partial(extract_together, setup, task, [ranks]),
            "copies": partial(extract_together, setup, task, [1] * ranks),
        }
        done = interleave(methods, repeats, setup.spares(repeats))
        findings.repeats += done.to_record()
        _put(findings.figures, ranks, done)
        findings.bars.append(Bar(f"{ranks}_ranks_over_copies_ratio_median", 0.95, at_least=True))
    findings.notes.append("The time of the copies is that of the slowest one. Each copy writes a whole store.")
    return findings


def _put(figures: dict[str, float], ranks: int, done: Repeats) -> None:
    """Add the figures of one number of ranks."""
    together, copies = done.runs_of("together"), done.runs_of("copies")
    put_ratio(
        figures, f"{ranks}_ranks_over_copies", [run.seconds / ranks for run in copies], [r.seconds for r in together]
    )
    by_cpu = [run.cpu_s / ranks for run in copies], [run.cpu_s for run in together]
    put_ratio(figures, f"{ranks}_ranks_over_copies_by_cpu_seconds", *by_cpu)
    figures[f"together_{ranks}_ranks_seconds_median"] = median_of([run.seconds for run in together])
    figures[f"copies_{ranks}_ranks_seconds_median"] = median_of([run.seconds for run in copies])
    figures[f"others_cpu_share_largest_{ranks}_ranks"] = max(run.disturbance for run in (*together, *copies))
