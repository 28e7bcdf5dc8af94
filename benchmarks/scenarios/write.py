"""The store's rows written through collective HDF5, against the same bytes by plain MPI-IO and by plain pwrite."""

import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.findings import Bar, Findings, median_of, put_ratio
from benchmarks.launch import ask
from benchmarks.page_cache import disk_of, memory_bytes
from benchmarks.setup import Setup
from etl.schema import Schema

__all__ = ["QUESTION", "measure"]

QUESTION = "What does collective HDF5 cost over plain MPI-IO, and over pwrite, when it writes the store's rows?"

_MEMORY = Path("/dev/shm")
_RUN_BYTES = {"tiny": 16 << 20, "laptop": 512 << 20, "cluster": 64 << 30}


@dataclass(frozen=True, slots=True)
class Case:
    """One layout of the writing."""

    ranks: int
    rows: int
    """Rows that a rank writes in one call."""
    align_bytes: int
    folder: Path
    where: str
    """disk or memory."""

    @property
    def name(self) -> str:
        """For the figures."""
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
    """Every way of writing, interleaved within one run of each case."""
    row_bytes = Schema(1).row_bytes
    found = Findings(
        data={"bytes_a_run": _RUN_BYTES[setup.size], "row_bytes": row_bytes, "memory_bytes": memory_bytes()}
    )
    found.data |= {
        "scratch": disk_of(setup.scratch),
        "page_cache": "written to; every run ends with fsync on every rank",
    }
    for case in _cases(setup):
        rounds = max(2, _RUN_BYTES[setup.size] // (case.ranks * case.rows * row_bytes))
        seconds, unsynced = _run(setup, case, rounds, setup.times(2, 9), found)
        _put(found.figures, case, seconds, unsynced)
        found.figures[f"pwrite_{case.name}_mib_per_second_median"] = (
            case.ranks * case.rows * rounds * row_bytes / 2**20 / median_of(seconds["pwrite"])
        )
        if case.align_bytes > 1:
            found.bars.append(Bar(f"hdf5_over_mpi_collective_{case.name}_ratio_median", 0.90, at_least=True))
            found.bars.append(Bar(f"hdf5_collective_over_pwrite_{case.name}_ratio_median", 0.85, at_least=True))
    found.ranks = sorted({case.ranks for case in _cases(setup)})
    found.notes.append(
        "Ratios of rates, from opening the file to closing it, synced; each into a fresh, allocated store."
    )
    return found


def _run(
    setup: Setup, case: Case, rounds: int, repeats: int, found: Findings
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each way with and without syncing, one a repeat."""
    with tempfile.TemporaryDirectory(prefix="write-", dir=case.folder) as folder:
        path = str(Path(folder, "rows.h5"))
        job = {"rows": case.rows, "rounds": rounds, "align_bytes": case.align_bytes, "path": path}
        job |= {"repeats": repeats, "spare": 3 * setup.spares(repeats)}
        _, ranks = ask(setup, "rows", job, case.ranks)
    seconds, unsynced = defaultdict(list), defaultdict(list)
    for each in zip(*ranks, strict=True):
        slowest = {way: max(rank["unsynced_s"][way] for rank in each) for way in each[0]["seconds"]}
        found.repeats.append({"case": case.name, "rounds": rounds, **each[0], "unsynced_s": slowest})
        for way in slowest if each[0].get("counted") else ():
            seconds[way].append(each[0]["seconds"][way])
            unsynced[way].append(slowest[way])
    counted = [each["others_share"] for each in ranks[0] if each.get("counted")]
    found.figures[f"others_cpu_share_largest_{case.name}"] = max(counted)
    return dict(seconds), dict(unsynced)


def _put(
    figures: dict[str, float], case: Case, seconds: dict[str, list[float]], unsynced: dict[str, list[float]]
) -> None:
    """Ratios of rates: how fast HDF5 is, as a share of its peer."""
    for suffix, took in (("", seconds), ("_unsynced", unsynced)):
        at = f"{case.name}{suffix}"
        put_ratio(figures, f"hdf5_over_mpi_collective_{at}", took["mpi_collective"], took["hdf5_collective"])
        put_ratio(figures, f"hdf5_over_mpi_independent_{at}", took["mpi_independent"], took["hdf5_independent"])
        put_ratio(figures, f"hdf5_collective_over_pwrite_{at}", took["pwrite"], took["hdf5_collective"])
        put_ratio(figures, f"hdf5_independent_over_pwrite_{at}", took["pwrite"], took["hdf5_independent"])
        put_ratio(figures, f"hdf5_collective_over_independent_{at}", took["hdf5_independent"], took["hdf5_collective"])
