"""Reports of an extraction: dry run, `rejected.csv`, JSON record and closing lines."""

import csv
import io
import json
import logging
import platform
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from etl.extract.assignment import RankAssignment, plan_extraction
from etl.extract.inputs import ExtractionInputs, PatchRows
from etl.extract.provenance import extraction_software
from etl.extract.resume import ResumeState
from etl.processor import describe_processor
from etl.settings import settings_record
from etl.source.warning import SourceWarning
from etl.stage_timer import StageTimer
from etl.store.journal import Journal
from etl.store.location import Location
from etl.store.sidecar import write_file

__all__ = ["RANK_STAGES", "RankReport", "extraction_record", "print_dry_run", "write_extraction_record"]

log = logging.getLogger("etl.extract")

RANK_STAGES = (
    "decode_s",  # in GDAL and the radiometry table, or reading a patch's files
    "wait_for_blocks_s",  # for blocks of other ranks
    "upsample_s",  # summed over networks that run at once: may exceed the time that passed
    "sum_s",  # statistics
    "interleave_s",  # bands from planes to the store's last axis
    "hash_s",  # checksums
    "blocked_s",  # the pipeline waits for the writer to give a batch back
    "wait_s",  # the main thread waits for this rank's own batch
    "agree_s",  # for the slowest rank
    "write_s",  # in HDF5 or Zarr
    "sync_s",  # rows to the disk, and the journal
    "cpu_s",  # CPU seconds of all threads of the process meanwhile
)
"""Stages of one rank whose seconds stand in the record, in this order."""


@dataclass(frozen=True, slots=True)
class RankReport:
    """What one rank did, and on which processor."""

    patches: int
    """Rows that it extracted."""

    blocks: int
    """Blocks that it decoded, all bands of a layer counted as one; patches read, in a patch archive."""

    seconds: dict[str, float]
    """Seconds by stage, as in `RANK_STAGES`."""

    nodata: dict[str, int]
    """Written patches that lack data somewhere, and those that lack it in a whole band."""

    warnings: Sequence[SourceWarning]
    """What was odd about its patches, but rejected none."""

    processor: str = field(default_factory=describe_processor)


def print_dry_run(inputs: ExtractionInputs, rows: PatchRows, ranks: int) -> None:
    """Print the plan for `--dry-run`: rows, bytes, seconds and load per rank; on rank 0."""
    settings, schema = inputs.settings, inputs.schema
    plan = plan_extraction(inputs, rows, ranks).plan
    mean_s, slowest_s = sum(plan.busy_s) / len(plan.busy_s), max(plan.busy_s)
    print(
        f"{schema.rows - len(rows.problems)} patches on {ranks} ranks -> {settings.out}, "
        f"{schema.rows * schema.row_bytes / 2**30:.2f} GiB\n"
        f"predicted: {slowest_s:.0f} s for the slowest rank, {mean_s:.0f} s on average, "
        f"balance {mean_s / slowest_s if mean_s else 1:.3f}"
    )
    for rank, (work, busy_s) in enumerate(zip(plan.work, plan.busy_s, strict=True)):
        products = len({part.product for part in work.patches})
        print(f"rank {rank}: {work.patch_count} patches of {products} products, {busy_s:.1f} s")
    _log_rejections(rows.problems)


def _log_rejections(reasons: Mapping[int, str]) -> None:
    if reasons:
        common = "; ".join(f"{text} ({count})" for text, count in Counter(reasons.values()).most_common(3))
        log.warning("%d patches are rejected, for example: %s", len(reasons), common)


def write_rejected(out: Location, state: ResumeState) -> None:
    """Write `rejected.csv` beside the store: patch, tile, row and reason of every rejected row.

    Raises:
        OSError: it cannot be written.
    """
    path = out.with_suffix(".rejected.csv")
    catalogue = state.rows.selection.catalogue
    text = io.StringIO(newline="")
    rejected = sorted(state.journal.rejected.items())
    lines = [(catalogue.patch[row].decode(), catalogue.tile[row].decode(), row, reason) for row, reason in rejected]
    csv.writer(text).writerows([("patch", "tile", "row", "reason"), *lines])
    try:
        write_file(path, text.getvalue().encode())
    except ConnectionError:
        raise
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from None


def extraction_record(reports: Sequence[RankReport], assignment: RankAssignment, steps: StageTimer) -> dict[str, Any]:
    """Counts and seconds of the whole run, from every rank's report; `steps`: seconds of prepare, write and finish."""
    seconds = {name: [report.seconds[name] for report in reports] for name in reports[0].seconds}
    mean_decode_s = statistics.fmean(seconds["decode_s"])
    blocks = sum(report.blocks for report in reports)
    needed = assignment.needed_blocks  # 0 for a patch archive
    return {
        "ranks": len(reports),
        "patches": sum(report.patches for report in reports),
        **{name: sum(report.nodata[name] for report in reports) for name in reports[0].nodata},
        "blocks_decoded": blocks,
        "seconds_prepare": steps.seconds["prepare"],
        "seconds_write": steps.seconds["write"],
        "seconds_total": sum(steps.seconds.values()),
        "seconds_by_stage": {
            name: {"min": min(values), "median": statistics.median(values), "max": max(values)}
            for name, values in seconds.items()
        },
        "cpu_seconds_of_ranks": seconds["cpu_s"],
        "processors": Counter(report.processor for report in reports),
        "decode_balance": mean_decode_s / max(seconds["decode_s"]) if mean_decode_s else 1.0,
        "decoded_twice_share": blocks / needed - 1.0 if needed else 0.0,
        "predicted_inefficiency": assignment.predicted_inefficiency,
    }


def write_extraction_record(inputs: ExtractionInputs, journal: Journal, run: dict[str, Any]) -> None:
    """Write the JSON record beside the complete store, and print the closing lines.

    `run`: the record so far; this adds bytes, rates a second, software and settings.

    Raises:
        OSError: it cannot be written.
    """
    settings, schema = inputs.settings, inputs.schema
    written_mib = run["patches"] * schema.row_bytes / 2**20
    record = run | {
        "command": "etl.extract",
        "rows": schema.rows,
        "rejected": len(journal.rejected),
        "mib": written_mib,
        "mib_per_second": written_mib / run["seconds_total"],
        "patches_per_second": run["patches"] / run["seconds_total"],
        "host": platform.node(),
        "software": extraction_software(),
        "settings": settings_record(settings),
    }
    path = settings.out.with_suffix(".json")
    try:
        write_file(path, (json.dumps(record, indent=1) + "\n").encode())
    except OSError as error:
        raise OSError(f"{settings.out} is complete, but its record {path} cannot be written: {error}") from None
    _print_closing_lines(settings.out, record, journal.rejected)


def _print_closing_lines(out: Location, record: Mapping[str, Any], rejected: Mapping[int, str]) -> None:
    stage = record["seconds_by_stage"]
    spent = ", ".join(
        f"{name.removesuffix('_s')} {stage[name]['median']:.1f}"
        for name in ("decode_s", "upsample_s", "sum_s", "interleave_s", "hash_s", "write_s", "sync_s")
    )
    print(
        f"median seconds per rank: {spent}; decoding balance {record['decode_balance']:.3f} (1 = equal), "
        f"blocks decoded more than once: {100 * record['decoded_twice_share']:.1f} %"
    )
    _log_rejections(rejected)
    if record["patches_with_empty_band"]:
        log.warning("%d patches have a band without any data", record["patches_with_empty_band"])
    print(
        f"{record['patches']} patches by {record['ranks']} ranks in {record['seconds_total']:.1f} s "
        f"({record['patches_per_second']:.0f} patches/s, {record['mib_per_second']:.0f} MiB/s), "
        f"{len(rejected)} rejected -> {out}"
    )
