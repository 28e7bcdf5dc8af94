"""What rank 0 keeps of a large store: seconds of a sync, seconds to read the journal, memory."""

from benchmarks.findings import Findings, median_of
from benchmarks.launch import run_program
from benchmarks.setup import Setup

__all__ = ["QUESTION", "measure"]

QUESTION = "How long do a sync and a resume take on rank 0 for the rows of a large store, beside their pixels?"

_SIZES = {"tiny": (20_000, 2_000, 40), "laptop": (10_000_000, 1_000_000, 20_000)}
"""Rows, rejected ones among them, and products."""


def measure(setup: Setup) -> Findings:
    """Write and read a journal on one rank, without a store."""
    rows, rejected, products = _SIZES.get(setup.size, _SIZES["laptop"])
    job = {"rows": rows, "rejected": rejected, "products": products, "path": str(setup.scratch / "store.h5.journal")}
    findings = Findings(ranks=[1], data={"rows": rows, "rejected": rejected, "products": products})
    answers, peaks = [], []
    for _ in range(setup.times(1, 3)):
        outcome, answer = run_program(setup, "journal", job, 1)
        answers.append(answer)
        peaks.append(max(outcome.by_rank("peak_resident_mib")))
        findings.repeats.append(outcome.to_record() | answer)
    findings.figures = {name: median_of([answer[name] for answer in answers]) for name in answers[0]}
    findings.figures["peak_memory_mib"] = median_of(peaks)
    findings.notes.append("A sync adds 30,000 rows in spans of 64; its seconds are those of rank 0's entry alone.")
    return findings
