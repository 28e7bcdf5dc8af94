"""`python -m benchmarks.programs.journal JOB.json RESULT.json`: rank 0's bookkeeping of a large store, without pixels.

A journal of many rows is written sync by sync, then read, and the list of rejected rows is made.
"""

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from etl.extract.report import common_reasons
from etl.schema import RowSpan
from etl.source.content import FileContent, ProductContent
from etl.store.journal import Journal
from etl.store.location import Location
from etl.tables import csv_bytes

__all__ = ["main"]

_SYNC_ROWS = 30_000
"""Rows of one sync: what some hundred ranks write in 30 seconds."""

_ROUND_ROWS = 64
"""Rows that a rank writes in one round, which become one span."""

_PRODUCT_FILES = (*(f"B{k:02}" for k in range(1, 13)), "SCL", "MTD_MSIL2A.xml", "MTD_TL.xml")


def _measure(rows: int, rejected: int, products: int, path: Path) -> dict[str, float]:
    """Seconds of each step; a tenth of the rejected rows have a reason of their own, the others share one."""
    names = [f"S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_{k:015}" for k in range(products)]
    files: ProductContent = {
        name: FileContent(40_000_000 + k, 1_700_000_000_000_000_000 + k, (f"MD5:{k:032x}",))
        for k, name in enumerate(_PRODUCT_FILES)
    }
    journal = Journal.begin(
        Location.parse(path), {"rows": rows}, {name: [name] for name in names}, {name: [files] for name in names}
    )
    is_rejected = np.zeros(rows, bool)
    is_rejected[np.random.default_rng(0).choice(rows, rejected, replace=False)] = True
    sync_s = []
    for first in range(0, rows, _SYNC_ROWS):
        spans = [
            RowSpan(k, min(rows, k + _ROUND_ROWS)) for k in range(first, min(rows, first + _SYNC_ROWS), _ROUND_ROWS)
        ]
        why = {
            row: f"cloud share 0.{row:07} is above the limit 0.5" if row % 10 == 0 else "no Level-2A product serves it"
            for row in (first + np.flatnonzero(is_rejected[first : first + _SYNC_ROWS])).tolist()
        }
        start = time.perf_counter()
        journal.add(spans, why)
        sync_s.append(time.perf_counter() - start)
    start = time.perf_counter()
    again = Journal.read(journal.location, repair=True)
    read_s = time.perf_counter() - start
    start = time.perf_counter()
    csv_bytes(("row", "reason"), again.rejected.items())
    common_reasons(again.rejected)
    return {
        "sync_seconds_median": median(sync_s),
        "sync_seconds_max": max(sync_s),
        "read_seconds": read_s,
        "list_seconds": time.perf_counter() - start,
        "journal_mib": path.stat().st_size / 2**20,
    }


def main() -> None:
    """Measure the job."""
    job: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = _measure(job["rows"], job["rejected"], job["products"], Path(job["path"]))
    Path(sys.argv[2]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
