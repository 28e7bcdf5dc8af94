"""Rate of writing a store's rows by collective HDF5, compared with the same bytes by MPI-IO and by pwrite."""

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.findings import Bar, Findings, median_of, put_ratio
from benchmarks.launch import run_program
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.setup import Setup
from etl.schema import Schema

__all__ = ["QUESTION", "measure"]

QUESTION = "How much slower does collective HDF5 write a store's rows than plain MPI-IO and pwrite do?"

_MEMORY = Path("/dev/shm")
_RUN_BYTES = {"tiny": 16 << 20, "laptop": 512 << 20, "cluster": 64 << 30}


@dataclass(frozen=True, slots=True)
class Case:
    """One case of writing: ranks, rows per call, alignment and place."""

    ranks: int
    rows: int
    """Rows that a rank writes in one call."""
    align_bytes: int
    folder: Path
    where: str
    """disk or memory."""

    @property
    def name(self) -> str:
        """Part of the names of its figures."""
        aligned = "aligned" if self.align_bytes > 1 else "unaligned"
        return f"{self.ranks}_ranks_{self.rows}_rows_{aligned}_{self.where}"


def _cases(setup: Setup) -> list[Case]:
    if setup.size == "tiny":
        return [Case(2, 4, 1 << 20, setup.scratch, "disk")]
    ranks = (1, 2, 4) if setup.size == "laptop" else (1, 36, 72)
    cases = [Case(r, rows, 1 << 20, setup.scratch, "disk") for r in ranks for rows in (64, 128)]
    cases += [Case(r, 64, 1, setup.scratch, "disk") for r in ranks]
    if setup.size == "laptop" and _MEMORY.is_dir():
        cases += [Case(r, rows, 1 << 20, _MEMORY, "memory") for r in ranks for rows in (64, 128)]
    return cases


def measure(setup: Setup) -> Findings:
    """Run all methods of writing alternately, in one run for each case."""
    row_bytes = Schema(1).row_bytes
    findings = Findings(
        data={"bytes_a_run": _RUN_BYTES[setup.size], "row_bytes": row_bytes, "memory_bytes": memory_bytes()}
    )
    findings.data |= {
        "scratch": disk_of(setup.scratch),
        "page_cache": "written to; each run ends with fsync on every rank",
    }
    for case in _cases(setup):
        rounds = max(2, _RUN_BYTES[setup.size] // (case.ranks * case.rows * row_bytes))
        seconds, unsynced = _run(setup, case, rounds, setup.times(2, 9), findings)
        _put(findings.figures, case, seconds, unsynced)
        findings.figures[f"pwrite_{case.name}_mib_per_second_median"] = (
            case.ranks * case.rows * rounds * row_bytes / 2**20 / median_of(seconds["pwrite"])
        )
        if case.align_bytes > 1:
            findings.bars.append(Bar(f"hdf5_over_mpi_collective_{case.name}_ratio_median", 0.90, at_least=True))
            findings.bars.append(Bar(f"hdf5_collective_over_pwrite_{case.name}_ratio_median", 0.85, at_least=True))
    findings.ranks = sorted({case.ranks for case in _cases(setup)})
    findings.notes.append(
        "Ratios of rates. Times run from opening the file to closing it, sync included; each run writes into a new "
        "store whose space is already allocated."
    )
    return findings


def _run(
    setup: Setup, case: Case, rounds: int, repeats: int, findings: Findings
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each method with and without sync, one per repeat."""
    with tempfile.TemporaryDirectory(prefix="write-", dir=case.folder) as folder:
        path = str(Path(folder, "rows.h5"))
        job = {"rows": case.rows, "rounds": rounds, "align_bytes": case.align_bytes, "path": path}
        job |= {"repeats": repeats, "spare": 3 * setup.spares(repeats)}
        _, ranks = run_program(setup, "rows", job, case.ranks)
    seconds, unsynced = defaultdict(list), defaultdict(list)
    for by_rank in zip(*ranks, strict=True):
        slowest = {method: max(rank["unsynced_s"][method] for rank in by_rank) for method in by_rank[0]["seconds"]}
        findings.repeats.append({"case": case.name, "rounds": rounds, **by_rank[0], "unsynced_s": slowest})
        for method in slowest if by_rank[0].get("counted") else ():
            seconds[method].append(by_rank[0]["seconds"][method])
            unsynced[method].append(slowest[method])
    counted = [repeat["others_share"] for repeat in ranks[0] if repeat.get("counted")]
    findings.figures[f"others_cpu_share_largest_{case.name}"] = max(counted)
    return dict(seconds), dict(unsynced)


def _put(
    figures: dict[str, float], case: Case, seconds: dict[str, list[float]], unsynced: dict[str, list[float]]
) -> None:
    """Add ratios of rates: HDF5 over its peers."""
    for suffix, took in (("", seconds), ("_unsynced", unsynced)):
        at = f"{case.name}{suffix}"
        put_ratio(figures, f"hdf5_over_mpi_collective_{at}", took["mpi_collective"], took["hdf5_collective"])
        put_ratio(figures, f"hdf5_over_mpi_independent_{at}", took["mpi_independent"], took["hdf5_independent"])
        put_ratio(figures, f"hdf5_collective_over_pwrite_{at}", took["pwrite"], took["hdf5_collective"])
        put_ratio(figures, f"hdf5_independent_over_pwrite_{at}", took["pwrite"], took["hdf5_independent"])
        put_ratio(figures, f"hdf5_collective_over_independent_{at}", took["hdf5_independent"], took["hdf5_collective"])
