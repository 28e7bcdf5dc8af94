"""Packages of other readers, each in its own virtual environment, because they pin other versions than this project."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.launch import environment

__all__ = ["PEERS", "make_peers", "python_of", "run_program_by"]

PEERS = {
    "lmdb_safetensors": ("lmdb==3.0.0", "safetensors==0.8.0"),
    "array_record_": ("array_record==0.8.6",),
    "grain_": ("grain==0.2.18", "array_record==0.8.6"),
    "litdata_": ("litdata==0.2.76",),
    "mosaicml_": ("mosaicml-streaming==0.13.0",),
    "rasterio_": ("rasterio==1.4.4",),
    "webdataset_": ("webdataset==1.0.2",),
}
"""Packages that pip installs besides numpy and xxhash, by reader. Two of them install PyTorch: 6 GB each."""

_EVERY = ("numpy==2.4.6", "xxhash==4.1.0")
_OLDER = {"mosaicml_": ("numpy==2.1.3", "xxhash==3.8.2")}
"""Older versions of numpy and xxhash for readers that need them."""


def python_of(cache: Path, reader: str) -> Path:
    """Path of the interpreter of a reader's environment, which may not exist."""
    return cache / "peers" / reader / "bin" / "python"


def run_program_by(python: Path, program: str, job: Any, folder: Path, what: str) -> Any:
    """Run `benchmarks.programs.<program>` by the interpreter `python` with `job`; returns the program's answer.

    Job and answer are JSON files in `folder`.

    Raises:
        RuntimeError: the program failed; the message begins with `what`.
    """
    asked, answer = folder / f"{program}.job.json", folder / f"{program}.answer.json"
    asked.write_text(json.dumps(job), encoding="utf-8")
    line = [str(python), "-m", f"benchmarks.programs.{program}", str(asked), str(answer)]
    done = subprocess.run(line, env=environment(), cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{what} must end with status 0, got {done.returncode}: {done.stderr.strip()[-500:]}")
    return json.loads(answer.read_text(encoding="utf-8"))


def make_peers(cache: Path) -> list[str]:
    """Make the environments that are missing; returns an error message for each that could not be made."""
    problems = []
    for reader, packages in PEERS.items():
        python = python_of(cache, reader)
        if python.exists():
            continue
        wanted = (*_OLDER.get(reader, _EVERY), *packages)
        lines = (
            [sys.executable, "-m", "venv", "--clear", str(python.parents[1])],
            [str(python), "-m", "pip", "install", "--disable-pip-version-check", *wanted],
        )
        for line in lines:
            done = subprocess.run(line, capture_output=True, text=True)
            if done.returncode:
                problems.append(f"{reader}: {done.stderr.strip()[-300:]}")
                python.unlink(missing_ok=True)
                break
    return problems
