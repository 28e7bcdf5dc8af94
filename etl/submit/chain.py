"""The jobs of a chain, from the settings of the commands that they run."""

import os
import posixpath
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from etl.catalogue.build import CatalogueSettings
from etl.extract.settings import ExtractSettings
from etl.settings import SETTINGS_FILE, load_settings
from etl.stats.settings import StatsSettings
from etl.submit.settings import JOB_NAMES, SubmitSettings
from etl.submit.site import JobShape, Site
from etl.verify.settings import VerifySettings

__all__ = ["DEFAULT_RUN", "NEEDS", "ChainJob", "pipeline_tables", "plan_chain", "run_folder"]

DEFAULT_RUN = "runs/latest"
"""The default of trainer.run --out."""

_CHECK_TRAINER = """
from etl.settings import load_settings
from trainer.config import EvaluateRunSettings, RunSettings
load_settings(RunSettings, "trainer.run", [])
load_settings(EvaluateRunSettings, "trainer.evaluate", [])
"""
"""Reads the trainer's tables as its commands do; in a process of its own, since `etl` does not import `trainer`."""

NEEDS = {
    "catalogue": (),
    "extract": ("catalogue",),
    "verify": ("extract",),
    "statistics": ("verify",),
    "train": ("verify",),
    "evaluate": ("train",),
    "report": ("evaluate",),
}
"""Jobs that must be done before each job begins."""


@dataclass(frozen=True, slots=True)
class ChainJob:
    """One job of a chain."""

    name: str
    """One of `JOB_NAMES`."""

    script: str
    """Name of its file in deploy/slurm, without its suffix."""

    needs: tuple[str, ...]
    """Names of the jobs that must be done before it begins."""

    shape: JobShape
    """Nodes, ranks and time."""

    paths: Mapping[str, str]
    """Values of the variables that its script uses."""

    result: str = ""
    """File or folder that the job makes, without which it is not done; empty if none is looked for."""

    mark: str = ""
    """File or object that tells how far it has come, see `progress.read_progress`; empty if it cannot be resumed."""


def plan_chain(settings: SubmitSettings, site: Site) -> list[ChainJob]:
    """The jobs from `--first` to `--last`, each after those that it needs.

    Their paths are those of the tables [extract] and [run] in pipeline.toml; the other tables must not contradict.

    A wrong setting of any command ends the program with status 2, as it would end the command itself days later.

    Raises:
        ValueError: they do, or DSen2's weights are not there, or the cluster needs an account.
    """
    if site.needs_account and not (settings.account or site.account):
        raise ValueError("--account must name the account that the jobs are charged to: this cluster needs one")
    extract = load_settings(ExtractSettings, "etl.extract", [])
    _check_tables()
    tables = pipeline_tables()
    store, run = str(extract.out), run_folder(tables)
    _require_same(tables, "catalogue", "out", str(extract.catalogue), "[extract] catalogue")
    for table in ("verify", "stats", "run", "evaluate"):
        _require_same(tables, table, "store", store, "[extract] out")
    _require_same(tables, "evaluate", "run", run, "[run] out")
    if extract.upsample == "dsen2" and not extract.weights.exists():
        raise ValueError(
            f"[extract] upsample is dsen2, and its weights are not in {extract.weights}; fetch them on a node that has "
            "a network: python -m etl.superres fetch"
        )
    paths = {"CATALOGUE": str(extract.catalogue), "STORE": store, "RUN": run, "REPORT": str(settings.report)}
    paths["STORE_FOLDER"] = "" if extract.out.is_remote else posixpath.dirname(store) or "."
    results = {"catalogue": str(extract.catalogue), "extract": "" if extract.out.is_remote else store, "train": run}
    marks = {"extract": f"{store}.journal", "train": posixpath.join(run, "checkpoint.npz")}
    first, last = JOB_NAMES.index(settings.first or JOB_NAMES[0]), JOB_NAMES.index(settings.last)
    names = JOB_NAMES[first : last + 1]
    scripts = {"extract": "superres"} if extract.upsample == "dsen2" else {}
    return [
        ChainJob(
            name,
            scripts.get(name, name),
            tuple(need for need in NEEDS[name] if need in names),
            _shape(settings, site.jobs[scripts.get(name, name)], name),
            paths,
            results.get(name, ""),
            marks.get(name, ""),
        )
        for name in names
    ]


def _check_tables() -> None:
    """Read the tables of all other commands.

    Raises:
        ValueError: one of the trainer's cannot be used.
    """
    load_settings(CatalogueSettings, "etl.catalogue", [])
    load_settings(VerifySettings, "etl.verify", [])
    load_settings(StatsSettings, "etl.stats", [])
    done = subprocess.run([sys.executable, "-c", _CHECK_TRAINER], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1].partition(": error: ")[2] or done.stderr.strip())


def _shape(settings: SubmitSettings, shape: JobShape, name: str) -> JobShape:
    nodes = {"extract": settings.extract_nodes, "train": settings.train_nodes}.get(name, 0)
    return replace(shape, nodes=nodes or shape.nodes)


def run_folder(tables: Mapping[str, Any]) -> str:
    """Folder of the training, as the table [run] of pipeline.toml gives it."""
    return str(tables.get("run", {}).get("out", DEFAULT_RUN))


def pipeline_tables() -> dict[str, Any]:
    """Tables of pipeline.toml, which `load_settings` has found to be valid TOML."""
    if not SETTINGS_FILE.is_file():
        return {}
    return {
        name: table
        for name, table in tomllib.loads(SETTINGS_FILE.read_text(encoding="utf-8")).items()
        if isinstance(table, dict)
    }


def _require_same(tables: Mapping[str, Any], table: str, key: str, wanted: str, source: str) -> None:
    """Check that a table, if it has this key, gives the path that the chain uses."""
    given = tables.get(table, {}).get(key, wanted)
    if Path(os.path.abspath(given)) != Path(os.path.abspath(wanted)):  # noqa: PTH100  # which also resolves ".."
        raise ValueError(
            f"{SETTINGS_FILE}: [{table}] {key} must be what the chain uses, {wanted} ({source}), got {given!r}"
        )
