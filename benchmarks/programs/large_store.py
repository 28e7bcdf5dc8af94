"""`python -m benchmarks.programs.large_store JOB.json RESULT.json`: steps of rank 0 for a catalogue without pixels.

A step is timed, and its peak memory is that of the process since the step began. What the steps share stays in memory
between them, as in the commands themselves.
"""

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa

from benchmarks.large_catalogue import large_inputs, make_large_table
from etl.catalogue.table import read_catalogue, write_catalogue
from etl.extract.assignment import make_assignments, plan_extraction
from etl.extract.finished_rows import NO_ROWS
from etl.extract.inputs import ExtractionInputs, initial_columns
from etl.extract.patch_rows import place_patches
from etl.extract.provenance import store_attributes
from etl.extract.resume import ResumeState
from etl.schema import WRITTEN, RowSpan
from etl.store.journal import Journal, journal_location
from etl.store.location import Location
from etl.store.reader import StoreReader
from etl.verify.catalogue import check_catalogue
from etl.verify.columns import check_complete, check_layout, check_values
from etl.verify.sidecars import check_journal, check_rejected_list

if TYPE_CHECKING:
    from etl.verify.check import Check

__all__ = ["main"]

T = TypeVar("T")

_SYNC_ROWS, _ROUND_ROWS = 30_000, 64
"""Rows of one sync and of one rank's round, as in the program `journal`."""


@dataclass
class Steps:
    """Seconds and peak memory of each step so far."""

    figures: dict[str, float] = field(default_factory=dict)

    def run(self, name: str, step: Callable[[], T]) -> T:
        """The result of `step`, whose seconds and peak MiB are kept under `name`."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
        start, cpu_start = time.perf_counter(), time.process_time()
        result = step()
        self.figures[f"{name}_seconds"] = time.perf_counter() - start
        self.figures[f"{name}_cpu_seconds"] = time.process_time() - cpu_start
        peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        self.figures[f"{name}_peak_mib"] = int(peak[1]) / 1024 if peak else float("nan")
        return result


def _write(job: dict[str, Any], steps: Steps) -> None:
    """Write the catalogue; its rows are in random order, as an archive lists them."""
    table = make_large_table(job["rows"], job["products"])
    shuffled = table.take(np.random.default_rng(1).permutation(len(table)))
    del table
    pa.default_memory_pool().release_unused()
    steps.run("write_catalogue", lambda: write_catalogue(Path(job["catalogue"]), shuffled))


def _plan(job: dict[str, Any], steps: Steps) -> None:
    """What rank 0 does between its start and the first block: read, create the store, plan."""
    path, out = Path(job["catalogue"]), Path(job["store"])
    catalogue = steps.run("read_catalogue", lambda: read_catalogue(path))
    inputs, selection = large_inputs(path, out, catalogue)
    rows = steps.run("place_patches", lambda: place_patches(inputs, selection))
    attributes = store_attributes(inputs.settings, inputs.schema, inputs.method, catalogue)
    columns = steps.run("initial_columns", lambda: initial_columns(inputs, selection))
    steps.run("create_store", partial(inputs.store.create, inputs.schema, columns, attributes))
    del columns
    journal = Journal.begin(journal_location(inputs.settings.out), {}, {}, {})
    state = ResumeState(journal, rows, NO_ROWS, inputs.schema, inputs.candidates)
    for ranks in job["ranks"]:
        plan = steps.run(f"plan_{ranks}_ranks", partial(plan_extraction, inputs, rows, ranks))
        steps.run(f"assign_{ranks}_ranks", partial(make_assignments, inputs, state, plan))
        del plan
    _finish(inputs, state)


def _finish(inputs: ExtractionInputs, state: ResumeState) -> None:
    """Mark the rows of the store as written, and journal them as a run of some hundred ranks does."""
    rows = inputs.schema.rows
    columns = {"state": np.full(rows, WRITTEN, np.uint8)}
    columns |= {f"{name}_share": np.zeros(rows, np.float32) for name in ("nodata", "cloud", "snow")}
    inputs.store.overwrite(columns)
    for first in range(0, rows, _SYNC_ROWS):
        stop = min(rows, first + _SYNC_ROWS)
        spans = [RowSpan(k, min(stop, k + _ROUND_ROWS)) for k in range(first, stop, _ROUND_ROWS)]
        state.journal.add(spans, {})


def _verify(job: dict[str, Any], steps: Steps) -> None:
    """The checks of etl.verify that read no pixels."""
    location = Location.parse(job["store"])
    store = steps.run("open_store", lambda: StoreReader(location, check=False))
    with store:
        checks: dict[str, Callable[[], list[Check]]] = {
            "check_layout": lambda: [check_layout(store)],
            "check_values": lambda: [check_complete(store), check_values(store)],
            "check_journal": lambda: [check_journal(store)[0], check_rejected_list(store)],
            "check_catalogue": lambda: check_catalogue(store, Path(job["catalogue"])),
        }
        for name, check in checks.items():
            for result in steps.run(name, check):
                if result.passed is False and result.name != "complete":
                    raise RuntimeError(f"the synthetic store must pass, but {result}")


def main() -> None:
    """Run the steps of the job's part."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    steps = Steps()
    {"write": _write, "plan": _plan, "verify": _verify}[job["part"]](job, steps)
    Path(sys.argv[2]).write_text(json.dumps(steps.figures), encoding="utf-8")


if __name__ == "__main__":
    main()
