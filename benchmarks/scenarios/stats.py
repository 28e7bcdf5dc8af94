"""The values of a store that is larger than memory counted by etl.stats, against one plain numpy pass."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.findings import Bar, Findings, Run, interleave, median_of, put_ratio
from benchmarks.inputs import labelled
from benchmarks.launch import UNBOUND, Job, Outcome, ask, run
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUESTION", "measure"]

QUESTION = "How long does etl.stats take on a store larger than memory, against one plain pass of numpy?"

_LIMIT_BYTES = {"tiny": 1 << 30, "laptop": 640 << 20, "cluster": 4 << 30}
_TILES = {"tiny": (2, 1200), "laptop": (6, 3600), "cluster": (6, 3600)}
"""Number of tiles and their side in pixels."""
_WORKERS = (1, 2)


@dataclass(frozen=True, slots=True)
class Count:
    """One pass that has been made."""

    seconds: float
    """From opening the store to percentiles."""

    answer: str
    """Hash of the percentiles."""

    resident_share: float
    """Share of the store in the page cache as it began."""

    cpu_s: float
    """CPU seconds of the pass."""

    outcome: Outcome
    """What the program cost."""

    @property
    def disturbance(self) -> float:
        """Share of the machine that others took."""
        return self.outcome.others_share

    def short(self, name: str) -> dict[str, Any]:
        """For a benchmark's record."""
        took = {"seconds": self.seconds, "pass_cpu_s": self.cpu_s}
        took["store_in_page_cache_share"] = self.resident_share
        return {
            "run": name,
            **took,
            "peak_resident_mib": self.outcome.of("peak_resident_mib")[0],
            **self.outcome.short(),
        }


def measure(setup: Setup) -> Findings:
    """Both ways in turn, within the same bound of memory."""
    store, limit = setup.scratch / "store.h5", _LIMIT_BYTES[setup.size]
    source = labelled(setup, *_TILES[setup.size])
    paths = ("--catalogue", str(source.catalogue), "--source", str(source.source), "--out", str(store))
    run(setup, Job("etl.extract", (*paths, "--upsample", "none"), 2))
    found = Findings(ranks=[1])
    size = store.stat().st_size
    found.data = {"store_bytes": size, "limit_bytes": limit, "memory_bytes": memory_bytes()}
    found.data |= {"scratch": disk_of(setup.scratch), "page_cache": "the store is let go of before every run"}
    ways: dict[str, Callable[[], Run]] = {"plain": partial(_count, setup, store, "plain", 1)}
    ways |= {f"dask_{n}": partial(_count, setup, store, "dask", n) for n in _WORKERS}
    repeats = setup.times(1, 5)
    done = interleave(ways, repeats, setup.spares(repeats))
    found.repeats = done.short()
    _put(found, {way: done.of(way) for way in ways}, size / limit)
    return found


def _count(setup: Setup, store: Path, way: str, workers: int) -> Count:
    """Run `benchmarks.programs.count`."""
    job = {"store": str(store), "way": way, "workers": workers, "limit_bytes": _LIMIT_BYTES[setup.size]}
    outcome, found = ask(setup, "count", job, 1, UNBOUND)
    return Count(found["seconds"], found["answer"], found["resident_share"], found["cpu_s"], outcome)


def _put(found: Findings, runs: dict[str, list[Count]], larger: float) -> None:
    """Figures of all ways."""
    answers = {each.answer for way in runs.values() for each in way}
    if len(answers) != 1:
        raise RuntimeError(f"every way must tell the same percentiles, got {len(answers)} different ones")
    figures, plain = found.figures, runs.pop("plain")
    figures["store_over_memory_limit_ratio"] = larger
    for way, mine in {"plain": plain, **runs}.items():
        figures[f"{way}_seconds_median"] = median_of([each.seconds for each in mine])
        figures[f"{way}_peak_resident_largest_mib"] = max(each.outcome.of("peak_resident_mib")[0] for each in mine)
        figures[f"others_cpu_share_largest_{way}"] = max(each.disturbance for each in mine)
    for way, mine in runs.items():
        name = f"stats_over_plain_{way}"
        put_ratio(figures, name, [each.seconds for each in mine], [each.seconds for each in plain])
        put_ratio(figures, f"stats_cpu_over_plain_cpu_{way}", [e.cpu_s for e in mine], [e.cpu_s for e in plain])
        found.bars.append(Bar(f"{name}_ratio_median", 1.5))
    found.notes.append(
        "What each program holds itself is bounded by RLIMIT_DATA; the page cache lets go of the store before each run "
        "and is not bounded meanwhile. Every way gave the same percentiles."
    )
