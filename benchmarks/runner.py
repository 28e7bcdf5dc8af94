"""Run scenarios and write a JSON record of each."""

import importlib
import json
import logging
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.findings import Findings, Skipped
from benchmarks.page_cache import memory_bytes
from benchmarks.setup import Setup
from etl.processor import processor_model, vector_extensions

__all__ = ["RESULTS", "SCENARIOS", "print_answer", "run_scenario"]

log = logging.getLogger(__name__)

SCENARIOS = (
    "extract", "archive", "memory", "balance", "write", "zarr", "read", "loader", "feed", "ranks", "superres", "stats",
    "train", "scale", "learn", "seeds", "upsampling", "sources", "large_store", "projection", "journal",
)  # fmt: skip
"""Names of the modules of `benchmarks.scenarios`, in the order in which they run."""

RESULTS = Path(__file__).resolve().parent / "results"
"""Folder of the records, from which the tables are made."""

_PACKAGES = (
    "sentinel-etl",
    "numpy",
    "h5py",
    "mpi4py",
    "gdal",
    "pyarrow",
    "xxhash",
    "tensorflow-cpu",
    "keras",
    "scikit-learn",
    "zarr",
    "tensorstore",
    "zarrs",
)


def run_scenario(name: str, setup: Setup, out: Path) -> dict[str, Any]:
    """Measure one scenario and write its record to `out`/<name>.<size>.json; returns the record.

    Raises:
        RuntimeError: a program that it ran failed.
    """
    module = importlib.import_module(f"benchmarks.scenarios.{name}")
    record: dict[str, Any] = {"benchmark": name, "question": module.QUESTION, **_circumstances(setup)}
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"benchmark-{name}-", dir=setup.scratch) as scratch:
        try:
            findings, skipped = module.measure(replace(setup, scratch=Path(scratch))), ""
        except Skipped as reason:
            findings, skipped = Findings(), str(reason)
        out.mkdir(parents=True, exist_ok=True)
        copied = [shutil.copyfile(path, out / f"{name}.{setup.size}.{path.name}").name for path in findings.keep]
    record |= {"seconds": time.perf_counter() - start, "load_after": os.getloadavg(), "skipped": skipped}
    record |= _answer(findings) | {"keep": copied}
    path = out / f"{name}.{setup.size}.json"
    path.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    log.info("%s: %s", path, skipped or f"{len(findings.figures)} figures in {record['seconds']:.0f} s")
    return record


def _answer(findings: Findings) -> dict[str, Any]:
    bars = [
        {**asdict(bar), "value": findings.figures[bar.figure], "met": bar.met(findings.figures[bar.figure])}
        for bar in findings.bars
    ]
    answer = asdict(findings)
    return {**answer, "bars": bars}


def _circumstances(setup: Setup) -> dict[str, Any]:
    """Machine, versions and settings: what decides the speed besides the code."""
    return {
        "size": setup.size,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {
            "cpu": processor_model(),
            "vector_extensions": vector_extensions(),
            "cores": os.cpu_count(),
            "memory_bytes": memory_bytes(),
            "system": platform.platform(),
        },
        "versions": _versions(),
        "commit": _commit(),
        "load_before": os.getloadavg(),
        "settings": {k: str(v) for k, v in asdict(setup).items() if k not in ("scratch", "cache")},
        "environment": {
            k: v for k, v in os.environ.items() if k.startswith(("OMPI_", "GDAL_", "OPJ_", "OMP_", "OPENBLAS_"))
        },
    }


def _versions() -> Mapping[str, str]:
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed as a package"
    versions["mpirun"] = _first_line(["mpirun", "--version"])
    return versions


def _commit() -> str:
    """Commit of the code, with a mark if files differ from it."""
    version = _first_line(["git", "-C", str(RESULTS.parent), "describe", "--always", "--dirty", "--abbrev=12"])
    return version or "unknown"


def _first_line(command: list[str]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""


def print_answer(record: Mapping[str, Any]) -> None:
    """Print the answer of a record on stdout."""
    sys.stdout.write(f"{record['benchmark']}: {record['question']}\n")
    if record["skipped"]:
        sys.stdout.write(f"  skipped: {record['skipped']}\n")
    for bar in record["bars"]:
        sign = ">=" if bar["at_least"] else "<="
        aim = f", aim {bar['aim']:g}" if bar["aim"] is not None else ""
        verdict = "met" if bar["met"] else "NOT MET"
        sys.stdout.write(f"  {bar['figure']} {bar['value']:.4g} (bar {sign} {bar['limit']:g}{aim}): {verdict}\n")
    sys.stdout.flush()
