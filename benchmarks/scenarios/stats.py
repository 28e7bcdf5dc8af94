"""`etl.stats` on a store that is larger than the memory it may use, compared with one plain numpy pass."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.findings import Bar, Findings, Run, interleave, median_of, put_ratio
from benchmarks.inputs import make_labelled_tiles
from benchmarks.launch import UNBOUND, Job, Outcome, run, run_program
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUESTION", "measure"]

QUESTION = "How long does etl.stats take on a store larger than its memory, compared with one plain pass of numpy?"

_LIMIT_BYTES = {"tiny": 1 << 30, "laptop": 640 << 20, "cluster": 4 << 30}
_TILES = {"tiny": (2, 1200), "laptop": (6, 3600), "cluster": (6, 3600)}
"""Number of tiles and their side in pixels."""
_WORKERS = (1, 2)


@dataclass(frozen=True, slots=True)
class Count:
    """One pass over the store."""

    seconds: float
    """Seconds from opening the store to percentiles."""

    answer: str
    """Hash of the percentiles."""

    resident_share: float
    """Share of the store in the page cache at the start."""

    cpu_s: float
    """CPU seconds of the pass."""

    outcome: Outcome
    """Time and memory of the program."""

    @property
    def disturbance(self) -> float:
        """Share of the machine's CPU time that other programs used."""
        return self.outcome.others_share

    def to_record(self, name: str) -> dict[str, Any]:
        """For a benchmark's record."""
        took = {"seconds": self.seconds, "pass_cpu_s": self.cpu_s}
        took["store_in_page_cache_share"] = self.resident_share
        return {
            "run": name,
            **took,
            "peak_resident_mib": self.outcome.by_rank("peak_resident_mib")[0],
            **self.outcome.to_record(),
        }


def measure(setup: Setup) -> Findings:
    """Run both methods alternately, with the same limit of memory."""
    store, limit = setup.scratch / "store.h5", _LIMIT_BYTES[setup.size]
    source = make_labelled_tiles(setup, *_TILES[setup.size])
    paths = ("--catalogue", str(source.catalogue), "--source", str(source.source), "--out", str(store))
    run(setup, Job("etl.extract", (*paths, "--upsample", "none"), 2))
    findings = Findings(ranks=[1])
    size = store.stat().st_size
    findings.data = {"store_bytes": size, "limit_bytes": limit, "memory_bytes": memory_bytes()}
    findings.data |= {"scratch": disk_of(setup.scratch), "page_cache": "the store is dropped before each run"}
    methods: dict[str, Callable[[], Run]] = {"plain": partial(_count, setup, store, "plain", 1)}
    methods |= {f"dask_{n}": partial(_count, setup, store, "dask", n) for n in _WORKERS}
    repeats = setup.times(1, 5)
    done = interleave(methods, repeats, setup.spares(repeats))
    findings.repeats = done.to_record()
    _put(findings, {method: done.runs_of(method) for method in methods}, size / limit)
    return findings


def _count(setup: Setup, store: Path, method: str, workers: int) -> Count:
    """Run `benchmarks.programs.count`."""
    job = {"store": str(store), "method": method, "workers": workers, "limit_bytes": _LIMIT_BYTES[setup.size]}
    outcome, answer = run_program(setup, "count", job, 1, UNBOUND)
    return Count(answer["seconds"], answer["answer"], answer["resident_share"], answer["cpu_s"], outcome)


def _put(findings: Findings, runs: dict[str, list[Count]], larger: float) -> None:
    """Add the figures of all methods."""
    answers = {count.answer for counts in runs.values() for count in counts}
    if len(answers) != 1:
        raise RuntimeError(f"every method must give the same percentiles, got {len(answers)} different ones")
    figures, plain = findings.figures, runs.pop("plain")
    figures["store_over_memory_limit_ratio"] = larger
    for method, counts in {"plain": plain, **runs}.items():
        figures[f"{method}_seconds_median"] = median_of([count.seconds for count in counts])
        figures[f"{method}_peak_resident_largest_mib"] = max(
            count.outcome.by_rank("peak_resident_mib")[0] for count in counts
        )
        figures[f"others_cpu_share_largest_{method}"] = max(count.disturbance for count in counts)
    for method, counts in runs.items():
        name = f"stats_over_plain_{method}"
        put_ratio(figures, name, [count.seconds for count in counts], [count.seconds for count in plain])
        put_ratio(figures, f"stats_cpu_over_plain_cpu_{method}", [e.cpu_s for e in counts], [e.cpu_s for e in plain])
        findings.bars.append(Bar(f"{name}_ratio_median", 1.5))
    findings.notes.append(
        "RLIMIT_DATA limits the memory of each program, but not the page cache. The store is dropped from the page "
        "cache before each run. All methods gave the same percentiles."
    )
