"""Reports of an extraction: dry run, `rejected.csv`, JSON record and closing lines."""

import json
import logging
import platform
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from etl.extract.assignment import RankAssignment, plan_extraction
from etl.extract.candidates import OpenRow
from etl.extract.inputs import ExtractionInputs
from etl.extract.patch_rows import PatchRows
from etl.extract.provenance import extraction_software
from etl.extract.resume import ResumeState
from etl.plural import counted
from etl.processor import describe_processor
from etl.settings import settings_record
from etl.source.warning import SourceWarning
from etl.stage_timer import StageTimer
from etl.store.interface import Backend
from etl.store.journal import Journal
from etl.store.location import Location
from etl.tables import csv_bytes

if TYPE_CHECKING:
    from etl.catalogue.table import Catalogue

__all__ = [
    "RANK_STAGES",
    "RankReport",
    "common_reasons",
    "extraction_record",
    "print_dry_run",
    "rejected_list",
    "require_written",
    "write_extraction_record",
]

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

_NUMBER = re.compile(r"(?<![\w:.])\d+(\.\d+)?\b")
"""A number in a reason, such as a share or a row, but not one in a name, such as B05 or EPSG:32633."""


@dataclass(frozen=True, slots=True)
class RankReport:
    """What one rank did, and on which processor."""

    patches: int
    """Rows that it wrote, without rejected ones."""

    blocks: int
    """Blocks that it decoded, all bands of a layer counted as one; patches read, in a patch archive."""

    needed_blocks: int
    """Blocks that all ranks had to decode, each counted once; 0 for a patch archive."""

    seconds: dict[str, float]
    """Seconds by stage, as in `RANK_STAGES`."""

    nodata: dict[str, int]
    """Written patches that lack data somewhere, that lack it in a whole band, and that a further product served."""

    open_rows: dict[int, OpenRow]
    """Rows of the last pass that lack pixels, and of which a further product is to be read."""

    unrepaired: dict[int, str]
    """Damaged rows that stay as they are, and why they could not be extracted again, by row."""

    warnings: Sequence[SourceWarning]
    """What was odd about its patches, but rejected none."""

    processor: str = field(default_factory=describe_processor)

    def plus(self, later: "RankReport") -> "RankReport":
        """This, and what the same rank did in a later pass."""
        return replace(
            self,
            patches=self.patches + later.patches,
            blocks=self.blocks + later.blocks,
            needed_blocks=self.needed_blocks + later.needed_blocks,
            seconds={name: value + later.seconds[name] for name, value in self.seconds.items()},
            nodata={name: value + later.nodata[name] for name, value in self.nodata.items()},
            open_rows=later.open_rows,
            unrepaired=self.unrepaired | later.unrepaired,
            warnings=[*self.warnings, *later.warnings],
        )


def print_dry_run(inputs: ExtractionInputs, rows: PatchRows, ranks: int) -> None:
    """Print the plan for `--dry-run`: rows, bytes, seconds and load per rank; on rank 0.

    Raises:
        ValueError: no patch can be extracted.
    """
    settings, schema = inputs.settings, inputs.schema
    plan = plan_extraction(inputs, rows, ranks).plan
    mean_s, slowest_s = sum(plan.busy_s) / len(plan.busy_s), max(plan.busy_s)
    print(
        f"{counted(schema.rows - len(rows.problems), 'patch')} on {counted(ranks, 'rank')} -> {settings.out}, "
        f"{schema.rows * schema.row_bytes / 2**30:.2f} GiB\n"
        f"predicted: {slowest_s:.0f} s for the slowest rank, {mean_s:.0f} s on average, "
        f"balance {mean_s / slowest_s if mean_s else 1:.3f}"
    )
    for rank, (work, busy_s) in enumerate(zip(plan.work, plan.busy_s, strict=True)):
        patches, products = work.patch_count, len({part.product for part in work.patches})
        print(f"rank {rank}: {counted(patches, 'patch')} of {counted(products, 'product')}, {busy_s:.1f} s")
    if inputs.passes > 1:
        further = counted(inputs.passes - 1, "further product")
        print(f"patches that lack pixels are then read from up to {further} of their acquisition")
    _log_rejections(rows.problems)
    if len(rows.problems) == schema.rows:
        raise ValueError(f"no patch can be extracted: {_rejected_because(rows.problems)}; nothing written (--dry-run)")


def common_reasons(reasons: Mapping[int, str]) -> list[tuple[str, int]]:
    """Reasons of rejected rows, the commonest first, each with how often it occurs.

    Reasons that differ in numbers alone, such as shares, count together, in the words of the first.
    """
    alike: dict[str, list[tuple[str, int]]] = {}
    for text, count in Counter(reasons.values()).items():
        alike.setdefault(_NUMBER.sub("0", text), []).append((text, count))
    counts = [(texts[0][0], sum(count for _, count in texts)) for texts in alike.values()]
    return sorted(counts, key=lambda reason: -reason[1])


def _are_rejected(number: int) -> str:
    return f"{counted(number, 'patch')} {'is' if number == 1 else 'are'} rejected"


def log_pass(open_rows: Mapping[int, OpenRow]) -> None:
    """Log how many rows lack pixels or scene classes, or cannot be read: the next product of each is read now."""
    broken = [item.problem for item in open_rows.values() if not item.missing]
    if broken:
        text = "%s cannot be read, for example: %s; the next product of the acquisition serves instead"
        log.warning(text, counted(len(broken), "patch"), broken[0])
    missing = Counter(item.missing for item in open_rows.values() if item.missing)
    for what, count in sorted(missing.items()):
        log.info("read also from the next product, as %s are missing: %s", what, counted(count, "patch"))


def _log_rejections(reasons: Mapping[int, str]) -> None:
    if reasons:
        common = "; ".join(f"{text} ({count})" for text, count in common_reasons(reasons)[:3])
        log.warning("%s, for example: %s", _are_rejected(len(reasons)), common)


def _rejected_because(reasons: Mapping[int, str]) -> str:
    """How many are rejected, and the commonest reason."""
    reason, count = common_reasons(reasons)[0]
    return f"{_are_rejected(len(reasons))}, {count} of them for this reason: {reason}"


def require_written(out: Location, journal: Journal, rows: int) -> None:
    """Check that a complete store has a written row.

    Raises:
        ValueError: all of its `rows` are rejected.
    """
    if len(journal.rejected) == rows:
        listed = out.with_suffix(".rejected.csv")
        raise ValueError(
            f"{out} has no written row: {_rejected_because(journal.rejected)}; {listed} lists all. Correct the cause, "
            "then run again with --resume --retry-rejected, or with another --out if settings must change"
        )


def rejected_list(journal: Journal, catalogue: "Catalogue") -> bytes:
    """The content of `rejected.csv`: patch, tile, row and reason of every rejected row."""
    rejected = journal.rejected.items()  # by row
    lines = ((catalogue.patch[row].decode(), catalogue.tile[row].decode(), row, reason) for row, reason in rejected)
    return csv_bytes(("patch", "tile", "row", "reason"), lines)


def write_rejected(store: Backend, state: ResumeState) -> None:
    """Write `rejected.csv` beside the store.

    Raises:
        OSError: it cannot be written.
    """
    path = store.location.with_suffix(".rejected.csv")
    try:
        store.write_beside(path, rejected_list(state.journal, state.rows.selection.catalogue))
    except ConnectionError:
        raise
    except OSError as error:
        raise OSError(f"{path} cannot be written: {error}") from None


def extraction_record(reports: Sequence[RankReport], assignment: RankAssignment, steps: StageTimer) -> dict[str, Any]:
    """Counts and seconds of the whole run, from every rank's report; `steps`: seconds of prepare, write and finish."""
    seconds = {name: [report.seconds[name] for report in reports] for name in reports[0].seconds}
    mean_decode_s = statistics.fmean(seconds["decode_s"])
    blocks = sum(report.blocks for report in reports)
    needed = reports[0].needed_blocks
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
        "written": schema.rows - len(journal.rejected),
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
        inputs.store.write_beside(path, (json.dumps(record, indent=1) + "\n").encode())
    except ConnectionError:
        raise
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
    nodata, empty_band = record["patches_with_nodata"], record["patches_with_empty_band"]
    if empty_band:
        log.warning(
            "%s a band without any data", counted(empty_band, "patch") + (" has" if empty_band == 1 else " have")
        )
    if nodata:
        print(f"{counted(nodata, 'patch')} written with pixels that lack data in at least one band")
    if unpaired := record.get("patches_without_sentinel1"):
        print(f"{counted(unpaired, 'patch')} written without any value of Sentinel-1")
    before = record["written"] - record["patches"]
    if further := record["patches_of_further_products"]:
        log.info("not read from the first product of the acquisition: %s", counted(further, "patch"))
    print(
        f"{counted(record['written'], 'patch')} written{f' ({before} of them before)' if before else ''}, "
        f"{len(rejected)} rejected by {counted(record['ranks'], 'rank')} in {record['seconds_total']:.1f} s "
        f"({record['patches_per_second']:.0f} patches/s, {record['mib_per_second']:.0f} MiB/s) -> {out}"
    )
