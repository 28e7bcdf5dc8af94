"""Peak memory of extraction ranks: of those that extract a full tile, and of those that have nothing to do."""

from benchmarks.extraction import Task, run_extraction
from benchmarks.findings import Bar, Findings
from benchmarks.inputs import TileInput, make_patch_folder, make_tile
from benchmarks.page_cache import memory_bytes
from benchmarks.setup import Setup
from etl.catalogue.table import read_catalogue_table, write_catalogue

__all__ = ["QUESTION", "measure"]

QUESTION = "How much memory does a rank of an extraction use at its peak?"

_BUSY = {"tiny": (2,), "laptop": (1, 2, 4), "cluster": (1, 8, 36)}
_IDLE = {"tiny": 4, "laptop": 72, "cluster": 72}


def measure(setup: Setup) -> Findings:
    """Extract with each number of ranks; then one patch on many ranks, so that all but two are idle."""
    source = make_tile(setup)
    findings = Findings(ranks=[*_BUSY[setup.size], _IDLE[setup.size]])
    findings.data = {"tile_px": source.product.grid.size_px, "patches": source.cells**2, "memory_bytes": memory_bytes()}
    task = Task(source.catalogue, source.source)
    for ranks in _BUSY[setup.size]:
        run = run_extraction(setup, task, ranks)
        findings.repeats.append(run.to_record("busy"))
        name = f"peak_resident_largest_{ranks}_ranks_mib"
        findings.figures[name] = max(run.outcome.by_rank("peak_resident_mib"))
        findings.bars.append(Bar(name, 1024.0))
    _idle(setup, source, findings)
    findings.notes.append(
        "Peak resident: VmHWM of each rank at its end, with shared libraries counted in full in every rank."
    )
    return findings


def _idle(setup: Setup, source: TileInput, findings: Findings) -> None:
    """Extract one patch on many ranks: one rank reads it, all others but rank 0 have nothing to do."""
    ranks, patches = _IDLE[setup.size], make_patch_folder(setup, source)
    catalogue = setup.scratch / "one.parquet"
    write_catalogue(catalogue, read_catalogue_table(patches.catalogue).slice(0, 1))
    run = run_extraction(setup, Task(catalogue, patches.source), ranks)
    findings.repeats.append(run.to_record("idle"))
    others = [rank for rank in run.outcome.ranks if rank["rank"] != 0]  # rank 0 reads the catalogue and makes the plan
    idle = sorted(others, key=lambda rank: float(rank["threads_cpu_s"].get("producer", 0.0)))[:-1]
    first = max(rank["peak_resident_mib"] for rank in run.outcome.ranks if rank["rank"] == 0)
    findings.figures[f"rank_0_peak_resident_{ranks}_ranks_mib"] = first
    for key in ("peak_resident_mib", "proportional_mib"):
        findings.figures[f"idle_{key.removesuffix('_mib')}_largest_{ranks}_ranks_mib"] = max(rank[key] for rank in idle)
    findings.figures[f"idle_run_{ranks}_ranks_seconds"] = run.outcome.wall_s
    findings.bars.append(Bar(f"idle_peak_resident_largest_{ranks}_ranks_mib", 120.0))
