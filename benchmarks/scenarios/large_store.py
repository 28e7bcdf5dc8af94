"""Rank 0 and a catalogue of 10 million patches: seconds, CPU seconds and peak memory of each step without pixels."""

from benchmarks.findings import Bar, Findings
from benchmarks.launch import run_program
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How long do catalogue, plan and verification of 10 million patches take, and how much memory?"

_SIZES = {"tiny": (3_000, 60), "laptop": (10_000_000, 20_000), "cluster": (10_000_000, 20_000)}
"""Patches and products."""

_RANKS = {"tiny": (3, 1024), "laptop": (72, 1024, 16384), "cluster": (72, 1024, 16384)}
"""Numbers of ranks that are planned for; one of them is 1,024, which the projection uses."""

_BAR_ROWS, _MOST_MIB = 10_000_000, 4096
"""The bar: rank 0 needs at most so much memory for so many patches."""


def measure(setup: Setup) -> Findings:
    """Run each part in a process of its own, as the commands do: write the catalogue, plan, verify."""
    (rows, products), ranks = _SIZES[setup.size], _RANKS[setup.size]
    job = {
        "rows": rows,
        "products": products,
        "ranks": ranks,
        "catalogue": str(setup.scratch / "patches.parquet"),
        "store": str(setup.scratch / "store.h5"),
    }
    findings = Findings(ranks=list(ranks), data={"rows": rows, "products": products, "pixels": "none"})
    for part in ("write", "plan", "verify"):
        outcome, figures = run_program(setup, "large_store", {**job, "part": part}, 1)
        findings.figures |= figures
        findings.repeats.append({"run": part, **outcome.to_record(), **figures})
    planned = [name for name in findings.figures if name.endswith("_peak_mib") and not name.startswith("write_")]
    findings.figures["rank_0_peak_mib"] = max(findings.figures[name] for name in planned)
    if rows >= _BAR_ROWS:
        findings.bars.append(Bar("rank_0_peak_mib", _MOST_MIB))
    findings.notes.append(
        "A single run. Peaks count what earlier steps of the same process left. The store is a real one whose pixel "
        "arrays are chunked, and no chunk is written. Products are not searched for or opened."
    )
    return findings
