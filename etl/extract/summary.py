"""What an extraction says: the plan, progress, the closing summary, `rejected.csv` and the JSON record."""

import csv
import io
import json
import logging
import platform
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from etl.exit_status import ExitStatus
from etl.extract.batches import Stages
from etl.extract.prepare import Assignment, Wanted
from etl.extract.rounds import Seconds
from etl.extract.settings import ExtractSettings
from etl.mpi import Comm
from etl.plan.work import Plan
from etl.processor import describe_processor
from etl.schema import SCHEMA_VERSION, Schema
from etl.source.tiles import Timer
from etl.store.journal import Journal
from etl.store.location import shown
from etl.store.sidecar import write_file
from etl.upsample.method import UpsampleMethod

__all__ = [
    "Progress",
    "RankReport",
    "already_complete",
    "attributes",
    "collect",
    "finish",
    "print_plan",
    "write_rejected",
]

log = logging.getLogger("etl.extract")

_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class RankReport:
    """What one rank did, and on which processor: counts, and seconds by stage."""

    patches: int
    blocks: int
    seconds: dict[str, float]
    processor: str

    @classmethod
    def of(cls, assignment: Assignment, decoding: Timer, making: Stages, writing: Seconds) -> "RankReport":
        """Gather a rank's counters."""
        seconds = {
            "decode_s": decoding.decode_s,
            "wait_for_blocks_s": decoding.wait_s,
            **asdict(making),
            **asdict(writing),
        }
        return cls(len(assignment.splits), decoding.blocks, seconds, describe_processor())


class Progress:
    """Rank 0's word on how far the job is: a live line on a terminal, one plain line every 10 s elsewhere."""

    def __init__(self, comm: Comm, rounds: int) -> None:
        self._silent = comm.rank != 0 or not rounds
        self._live = sys.stderr.isatty()
        self._rounds = rounds
        self._start = self._last = time.monotonic()

    def __call__(self, done: int) -> None:
        """Note that `done` rounds are done."""
        now = time.monotonic()
        last = self._live and done == self._rounds  # ends the live line
        if self._silent or (now - self._last < (0.5 if self._live else _EVERY_S) and not last):
            return
        self._last = now
        left = (now - self._start) / done * (self._rounds - done)
        text = f"extract: {100 * done / self._rounds:3.0f} %, round {done} of {self._rounds}, about {left:.0f} s left"
        if self._live:
            print(f"\r{text:<78}", end="" if done < self._rounds else "\n", file=sys.stderr, flush=True)
        else:
            log.info(text)


def attributes(settings: ExtractSettings, nomenclature: int, method: UpsampleMethod) -> dict[str, Any]:
    """Root attributes of a store; `upsample_weights` is JSON, one entry a network, or none."""
    networks = [network.to_record() for network in method.networks]
    precision = {"upsample_precision": method.precision} if networks else {}
    return {
        "Conventions": "CF-1.11",
        "title": "Sentinel-2 Level-2A patches",
        "schema_version": SCHEMA_VERSION,
        "upsample": method.name,
        "upsample_weights": json.dumps(networks) if networks else "none",
        **precision,
        "nomenclature": nomenclature,
        "software": json.dumps(software()),
        "settings": json.dumps({key: str(value) for key, value in asdict(settings).items()}),
    }


def software() -> dict[str, str]:
    """Versions of what decides content and speed."""
    names = ["sentinel-etl", "numpy", "h5py", "mpi4py", "gdal"]
    if "tensorflow" in sys.modules:
        names.append("keras")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed as a package"
    if "tensorflow" in sys.modules:  # its package may be called tensorflow-cpu
        found["tensorflow"] = sys.modules["tensorflow"].__version__
    return found


def print_plan(settings: ExtractSettings, schema: Schema, plan: Plan, reasons: dict[int, str]) -> None:
    """Answer of `--dry-run`, on stdout."""
    mean = sum(plan.busy_s) / len(plan.busy_s)
    print(
        f"{schema.rows - len(reasons)} patches on {len(plan.shares)} ranks -> {shown(settings.out)}, "
        f"{schema.rows * schema.row_bytes / 2**30:.2f} GiB\n"
        f"predicted: {max(plan.busy_s):.0f} s for the slowest rank, {mean:.0f} s on average, "
        f"balance {mean / max(plan.busy_s) if mean else 1:.3f}"
    )
    for rank, (share, busy_s) in enumerate(zip(plan.shares, plan.busy_s, strict=True)):
        patches = sum(run.stop - run.first for run in share.runs)
        print(f"rank {rank}: {patches} patches of {len({r.tile for r in share.runs})} tiles, {busy_s:.1f} s")
    _print_reasons(reasons)


def _print_reasons(reasons: dict[int, str]) -> None:
    if reasons:
        common = Counter(reasons.values()).most_common(3)
        log.warning(
            "%d patches are rejected, for example: %s", len(reasons), "; ".join(f"{text} ({n})" for text, n in common)
        )


def already_complete(settings: ExtractSettings, comm: Comm, journal: Journal | None) -> int:
    """Collective: say that there is nothing left to do; the exit status."""
    rejected = comm.bcast(len(journal.rejected) if journal is not None else None)
    if comm.rank == 0:
        print(f"{shown(settings.out)} is complete, {rejected} rejected: nothing to do")
    return ExitStatus.REJECTED if rejected and settings.strict else ExitStatus.DONE


def collect(
    comm: Comm, report: RankReport, plan: Plan | None, steps_s: tuple[float, float, float]
) -> dict[str, Any] | None:
    """Collective: the record of the run, on rank 0."""
    reports = comm.gather(report)
    if reports is None or plan is None:
        return None
    stages = {}
    for name in report.seconds:
        values = [r.seconds[name] for r in reports]
        stages[name] = {"min": min(values), "median": float(np.median(values)), "max": max(values)}
    decode = [r.seconds["decode_s"] for r in reports]
    mean, blocks = sum(decode) / len(decode), sum(r.blocks for r in reports)
    return {
        "ranks": comm.size,
        "patches": sum(r.patches for r in reports),
        "blocks_decoded": blocks,
        "seconds_prepare": steps_s[0],
        "seconds_write": steps_s[1] - steps_s[0],
        "seconds_total": steps_s[2],
        "seconds_by_stage": stages,
        "cpu_seconds_of_ranks": [r.seconds["cpu_s"] for r in reports],
        "processors": Counter(r.processor for r in reports),
        "decode_balance": mean / max(decode) if mean else 1.0,
        "decoded_twice_share": blocks / plan.blocks - 1.0 if plan.blocks else 0.0,  # a patch archive has no blocks
        "predicted_inefficiency": plan.inefficiency,
    }


def write_rejected(out: Path, journal: Journal, wanted: Wanted) -> None:
    """Write `rejected.csv` beside the store: patch, tile, row and reason of every rejected row."""
    path = out.with_name(out.stem + ".rejected.csv")
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("patch", "tile", "row", "reason"))
    for row, reason in sorted(journal.rejected.items()):
        names = (wanted.catalogue.patch[row].decode(), wanted.catalogue.tile[row].decode())
        writer.writerow((*names, row, reason))
    try:
        write_file(path, text.getvalue().encode())
    except ConnectionError:
        raise
    except OSError as error:
        raise OSError(f"{shown(path)} cannot be written: {error}") from None


def finish(settings: ExtractSettings, schema: Schema, record: dict[str, Any], journal: Journal) -> None:
    """Write the JSON record beside the complete store, and print the closing lines."""
    written_mib = record["patches"] * schema.row_bytes / 2**20
    record |= {
        "command": "etl.extract",
        "rows": schema.rows,
        "rejected": len(journal.rejected),
        "mib": written_mib,
        "mib_per_second": written_mib / record["seconds_total"],
        "patches_per_second": record["patches"] / record["seconds_total"],
        "host": platform.node(),
        "software": software(),
        "settings": {key: str(value) for key, value in asdict(settings).items()},
    }
    path = settings.out.with_name(settings.out.stem + ".json")
    try:
        write_file(path, (json.dumps(record, indent=1) + "\n").encode())
    except OSError as error:
        text = f"{shown(settings.out)} is complete, but its record {shown(path)} cannot be written: {error}"
        raise OSError(text) from None
    stage = record["seconds_by_stage"]
    spent = ", ".join(
        f"{name.removesuffix('_s')} {stage[name]['median']:.1f}"
        for name in ("decode_s", "upsample_s", "sum_s", "interleave_s", "hash_s", "write_s", "sync_s")
    )
    print(
        f"seconds a rank (median): {spent}; balance {record['decode_balance']:.3f}, "
        f"decoded twice {100 * record['decoded_twice_share']:.1f} %"
    )
    _print_reasons(journal.rejected)
    print(
        f"{record['patches']} patches by {record['ranks']} ranks in {record['seconds_total']:.1f} s "
        f"({record['patches_per_second']:.0f} patches/s, {record['mib_per_second']:.0f} MiB/s), "
        f"{len(journal.rejected)} rejected -> {shown(settings.out)}"
    )
